package guest

import (
	"net"
	"sync/atomic"
)

// line is a connection on which the other side can't send for ever.
type line struct {
	net.Conn
	// left is how many bytes it may still send.
	left int64
	// cutOff is set once it wanted to send more.
	cutOff atomic.Bool
}

// Read implements net.Conn. Only one goroutine may call it.
func (l *line) Read(p []byte) (int, error) {
	if l.left <= 0 {
		l.cutOff.Store(true)
		return 0, errTooMuch
	}
	n, err := l.Conn.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// hangUp closes the connection, whoever uses it.
func (l *line) hangUp() {
	_ = l.Conn.Close() // nobody can do more about it
}
