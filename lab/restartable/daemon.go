// Package restartable is the life of an emulated daemon: it answers, and can be told to restart.
// What it looks after goes on while it is away.
package restartable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github-runner/lab/clock"
)

// Daemon takes orders to restart.
type Daemon struct {
	orders chan order
}

// order is one to be away for a time. done is closed when the daemon is back.
type order struct {
	down time.Duration
	done chan struct{}
}

// New returns a daemon that does not answer yet.
func New() *Daemon {
	return &Daemon{orders: make(chan order)}
}

// Life is what a daemon does from each of its starts to the next.
type Life struct {
	// Open starts it, and returns where it answers.
	Open func() (net.Listener, error)
	// Handler is what answers.
	Handler http.Handler
	// End is told that it ends, before its connections do; nil: nobody is.
	End func()
}

// Serve lives until ctx ends, and again after each order to restart. It calls ready once
// the first life answers.
func (d *Daemon) Serve(ctx context.Context, life Life, ready func()) error {
	for {
		next, err := d.live(ctx, life, ready)
		if err != nil || ctx.Err() != nil {
			return err
		}
		ready = func() { close(next.done) }
		if err := clock.Pause(ctx, next.down); err != nil {
			return nil
		}
	}
}

// live is one life: it ends with ctx or with the order to restart.
func (d *Daemon) live(ctx context.Context, life Life, ready func()) (next order, err error) {
	listener, err := life.Open()
	if err != nil {
		return order{}, err
	}
	server := &http.Server{Handler: life.Handler, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ready()
	select {
	case <-ctx.Done():
	case next = <-d.orders:
	case err = <-failed:
	}
	if life.End != nil {
		life.End()
	}
	if closed := server.Close(); err == nil && !errors.Is(closed, net.ErrClosed) {
		err = closed
	}
	return next, err
}

// Restart ends the daemon's life, and lets it begin another after a time. It returns
// when the daemon is back.
func (d *Daemon) Restart(ctx context.Context, down time.Duration) error {
	next := order{down: down, done: make(chan struct{})}
	select {
	case d.orders <- next:
	case <-ctx.Done():
		return fmt.Errorf("cannot restart the emulated daemon: %w", ctx.Err())
	}
	select {
	case <-next.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for the emulated daemon: %w", ctx.Err())
	}
}

// Listen listens as the machine does: a socket that another process left makes room.
func Listen(network, address string) (net.Listener, error) {
	if network == "unix" {
		if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("cannot listen: %w", err)
		}
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return listener, nil
}
