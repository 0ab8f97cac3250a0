package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	readTime  = 10 * time.Second
	writeTime = checkDeadline + 10*time.Second
	idleTime  = 30 * time.Second
	maxHeader = 8 << 10

	// stopTime is what answers under way get when the service ends: a job whose
	// question is cut off can't ask again. Its Pebble waits for ten seconds.
	stopTime = 8 * time.Second
	// sweepInterval is the time between two removals of expired tokens.
	sweepInterval = time.Hour
	// maxConns is how many connections one address may have: a runner needs one,
	// and none keeps the others from their answers.
	maxConns = 8

	bindRetry    = time.Second
	maxBindRetry = 15 * time.Second
)

// Where is where a Service answers.
type Where struct {
	// Socket is the socket in the unit's folder. Serve closes it.
	Socket net.Listener
	// Addresses tells the machine's address on the runners' bridge, at first and
	// whenever it changes; the zero Addr is that there is none just now.
	Addresses <-chan netip.Addr
	// Port is that of the address.
	Port uint16
}

// Serve answers until ctx ends, and returns nil then. Where the bridge does not
// exist yet, or its address changes, or something else has the port, it waits for
// it and goes on answering on the socket.
func (s *Service) Serve(ctx context.Context, where Where) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		// What a runner makes of TLS or HTTP is not worth a line.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	var all sync.WaitGroup
	all.Go(func() { s.sweep(ctx) })
	all.Go(func() { s.followBridge(ctx, server, where) })
	failed := make(chan error, 1)
	all.Go(func() { failed <- server.Serve(where.Socket) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("cannot go on answering on the unit's socket: %w", err)
	}
	cancel()
	stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer stop()
	if server.Shutdown(stopping) != nil {
		err = errors.Join(err, server.Close())
	}
	all.Wait()
	return err
}

// sweep removes tokens that nobody has used, now and every hour.
func (s *Service) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		if err := s.tokens.Sweep(); err != nil {
			s.options.Log.WithError(err).Warn("expired tokens stay for now")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// followBridge keeps a listener on the bridge's address, whichever that is.
func (s *Service) followBridge(ctx context.Context, server *http.Server, where Where) {
	var address netip.Addr
	var listener net.Listener
	release := func() {
		if listener != nil {
			listener.Close()
			listener = nil
		}
	}
	defer release()
	pause := bindRetry
	for {
		var retry <-chan time.Time
		if address.IsValid() && listener == nil {
			at := netip.AddrPortFrom(address, where.Port)
			var err error
			if listener, err = bind(ctx, at); err != nil {
				s.options.Log.WithError(err).WithField("retry", pause).Warn("runners can't ask yet")
				retry, pause = time.After(pause), min(2*pause, maxBindRetry)
			} else {
				s.options.Log.WithField("address", at).Info("runners can ask")
				pause = bindRetry
				go server.Serve(perAddress(listener)) // it ends with its listener
			}
		}
		select {
		case next, ok := <-where.Addresses:
			if !ok {
				<-ctx.Done()
				return
			}
			if next != address {
				release()
				address = next
			}
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

func bind(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the runners' bridge: %w", err)
	}
	return listener, nil
}

// perAddress bounds how many connections come from one address. The bridge sees
// to it that a runner has no other address than its own.
func perAddress(listener net.Listener) net.Listener {
	return &fairListener{Listener: listener, open: map[netip.Addr]int{}}
}

type fairListener struct {
	net.Listener
	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept returns the next connection that is not one too many.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		if l.take(from.Addr()) {
			return &fairConn{Conn: conn, done: func() { l.free(from.Addr()) }}, nil
		}
		conn.Close()
	}
}

func (l *fairListener) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= maxConns {
		return false
	}
	l.open[from]++
	return true
}

func (l *fairListener) free(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] <= 0 {
		delete(l.open, from)
	}
}

// fairConn is one of the connections that are counted.
type fairConn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close makes room for another one.
func (c *fairConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}
