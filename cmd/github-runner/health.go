package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github-runner/charm/policy"
	"github-runner/charm/services"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// healthDeadline is how long a service has to answer. Pebble gives the command a
// little more.
const healthDeadline = 5 * time.Second

// question is where a service answers in the unit's folder, and what it is asked.
type question struct {
	socket string
	path   string
}

// questions are those to each service, by name. A service that can't do its work
// because GitHub is away is not mended by a new start: the policy service is asked
// for signs of life alone.
func questions() map[string]question {
	return map[string]question{
		services.Agent:  {unit.AgentSocket, "/health"},
		services.Policy: {policy.Socket, policy.AlivePath},
	}
}

const healthUsage = "github-runner health agent|repo-policy --unit FOLDER"

// health is the role of Pebble's checks: it asks a service of a unit for its
// health, and fails unless it is good.
func health(ctx context.Context, args []string) error {
	if len(args) != 3 || args[1] != "--unit" {
		return errors.New("usage: " + healthUsage)
	}
	asked, ok := questions()[args[0]]
	if !ok {
		return fmt.Errorf("there is no service %q; usage: %s", args[0], healthUsage)
	}
	dir, err := unitdir.Find(os.Getenv(rootVariable), args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	return ask(ctx, dir, asked)
}

// ask returns nil if a service answers with success.
func ask(ctx context.Context, dir *unitdir.Dir, asked question) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+asked.path, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dir.Dial(ctx, asked.socket)
		},
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
