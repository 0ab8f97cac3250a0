package lxd

import (
	"context"
	"net"
	"net/http"
)

// Host is how a Cloud reaches the daemon and sees the machine. The zero value is
// the machine that this process runs on; a simulation puts another in its place.
type Host struct {
	// Dial opens a connection to the daemon; nil: to its socket.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Carry gets what carries calls to the daemon, and returns what is called in
	// its place; nil: itself.
	Carry func(http.RoundTripper) http.RoundTripper
	// Processes is the folder with one folder for each process; "": /proc.
	Processes string
	// Unwatched lets folders be looked at once a second where the kernel could
	// watch them: time that is simulated stands still for its messages.
	Unwatched bool
}

func (h Host) carrier(inner http.RoundTripper) http.RoundTripper {
	if h.Carry == nil {
		return inner
	}
	return h.Carry(inner)
}

func (h Host) processes() string {
	if h.Processes == "" {
		return "/proc"
	}
	return h.Processes
}

func (h Host) folderWatcher(ctx context.Context, known files) *folderWatcher {
	if h.Unwatched {
		return newFolderPoller(ctx, known)
	}
	return newFolderWatcher(ctx, known)
}
