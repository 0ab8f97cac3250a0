package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// orderTimeout bounds an order, beside the time that the order itself takes.
const orderTimeout = 30 * time.Second

// Control gives an emulation the orders that a real daemon has no words for.
type Control struct {
	client *http.Client
}

// Dial returns the control of the emulation with that control socket. It makes
// no call.
func Dial(socket string) *Control {
	return &Control{client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// AddFault puts a fault into force and returns it with its ID.
func (c *Control) AddFault(ctx context.Context, fault Fault) (Fault, error) {
	err := c.Order(ctx, http.MethodPost, "/faults", fault, &fault)
	return fault, err
}

// Faults returns the faults that were added and not cleared, oldest first.
func (c *Control) Faults(ctx context.Context) ([]Fault, error) {
	var faults []Fault
	err := c.Order(ctx, http.MethodGet, "/faults", nil, &faults)
	return faults, err
}

// ClearFaults ends the fault with an ID, all of a kind, or all when what is
// empty; it returns how many it ended.
func (c *Control) ClearFaults(ctx context.Context, what string) (int, error) {
	var ended int
	err := c.Order(ctx, http.MethodDelete, "/faults?what="+url.QueryEscape(what), nil, &ended)
	return ended, err
}

// Restart restarts the cloud's API, which is away for the time down, and returns
// when it is back. Its guests live on.
func (c *Control) Restart(ctx context.Context, down time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, down+orderTimeout)
	defer cancel()
	return c.Order(ctx, http.MethodPost, "/restart", restartOrder{Down: down}, nil)
}

// Order gives an order, bounded in time, and reads the reply into reply unless it is
// nil.
func (c *Control) Order(ctx context.Context, method, path string, body, reply any) error {
	if _, bounded := ctx.Deadline(); !bounded {
		limited, cancel := context.WithTimeout(ctx, orderTimeout)
		defer cancel()
		ctx = limited
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("cannot give the emulated cloud an order: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://cloud"+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("cannot give the emulated cloud an order: %w", err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot reach the emulated cloud: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxOrder))
	if err != nil {
		return fmt.Errorf("cannot read the emulated cloud's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the emulated cloud refuses: %s", strings.TrimSpace(string(content)))
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(content, reply)
}
