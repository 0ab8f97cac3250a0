package github

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const shutdownTime = 2 * time.Second

// Serve answers the API on the address listen and orders on a socket, until ctx
// ends. It calls ready once both are open.
func (s *Server) Serve(ctx context.Context, listen, socket string, ready func()) error {
	config := net.ListenConfig{KeepAliveConfig: keepAlive()}
	api, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("cannot serve GitHub: %w", err)
	}
	defer api.Close()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot serve GitHub: %w", err)
	}
	control, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("cannot serve GitHub: %w", err)
	}
	defer control.Close()
	ready()

	group, ctx := errgroup.WithContext(ctx)
	serve(ctx, group, api, s)
	serve(ctx, group, control, s.Control())
	if err := group.Wait(); err != nil {
		return fmt.Errorf("cannot serve GitHub: %w", err)
	}
	return nil
}

// keepAlive finds out within seconds that a runner's machine is gone: one whose
// network went first can't say so.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}
}

func serve(ctx context.Context, group *errgroup.Group, listener net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		// Calls that wait end with the server.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if err := server.Shutdown(within); err != nil {
			return server.Close()
		}
		return nil
	})
}
