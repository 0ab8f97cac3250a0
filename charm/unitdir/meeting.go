package unitdir

import (
	"context"
	"net"
)

// Meeting is where the processes of a unit meet: its lock, and the sockets in its
// folder. A Dir is one itself, by the kernel's locks and sockets.
type Meeting interface {
	// Lock, Listen and Dial promise what those of a Dir do.
	Lock(ctx context.Context) (unlock func(), err error)
	Listen(name string) (net.Listener, error)
	Dial(ctx context.Context, name string) (net.Conn, error)
}

// At returns the same folder, whose processes meet elsewhere than in the kernel:
// where several live in one process of the kernel's, in a simulation.
func (d *Dir) At(m Meeting) *Dir {
	moved := *d
	moved.meeting = m
	return &moved
}
