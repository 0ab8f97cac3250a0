// Package pipe connects two sides in memory.
package pipe

import (
	"bytes"
	"net"
	"sync"
)

// New connects a client and a server, as net.Pipe does; but what the server writes
// waits for nobody, as with a socket. At the beginning of SSH both sides write. Its
// waiting is seen by testing/synctest, unlike a socket's.
func New() (client, server net.Conn) {
	client, far := net.Pipe()
	l := &loose{Conn: far, out: make(chan []byte, 64), closed: make(chan struct{})}
	go l.write()
	return client, l
}

// loose is a connection with a queue of what is to be written.
type loose struct {
	net.Conn
	out    chan []byte
	closed chan struct{}
	once   sync.Once
}

// write writes what is in the queue, until either side is closed.
func (l *loose) write() {
	defer l.Conn.Close()
	for {
		select {
		case p := <-l.out:
			if _, err := l.Conn.Write(p); err != nil {
				l.Close()
				return
			}
		case <-l.closed:
			return
		}
	}
}

// Write implements net.Conn.
func (l *loose) Write(p []byte) (int, error) {
	select {
	case l.out <- bytes.Clone(p):
		return len(p), nil
	case <-l.closed:
		return 0, net.ErrClosed
	}
}

// Close implements net.Conn. What was not read by then is lost.
func (l *loose) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}
