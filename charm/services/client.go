package services

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"github.com/canonical/pebble/client"
)

// connect returns a client of the unit's daemon. Pebble's client takes no
// context: its connections end with this one, and its calls with them.
func (u *Unit) connect(ctx context.Context) (*client.Client, error) {
	c, err := client.New(&client.Config{DisableKeepAlive: true})
	if err != nil {
		return nil, fmt.Errorf("cannot talk to Pebble: %w", err)
	}
	c.Requester().Transport().DialContext = func(context.Context, string, string) (net.Conn, error) {
		conn, err := u.dir.Dial(ctx, filepath.Join(homeName, socketName))
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		return conn, nil
	}
	return c, nil
}

// answers returns nil if the daemon answers in time.
func (u *Unit) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerDeadline)
	defer cancel()
	c, err := u.connect(ctx)
	if err != nil {
		return err
	}
	// Not by the client's own calls: where nobody listens they try again, for
	// seconds.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/system-info", nil)
	if err != nil {
		return err
	}
	response, err := c.Requester().Transport().RoundTrip(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
