package unitdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Listen makes a unix socket in the unit's folder and listens there, however
// long the folder's path is: an address of a socket has room for 107 bytes. The
// name is a path below the folder. What a process that died left under that name
// is replaced; a socket that somebody listens on is an error, and so is anything
// that is no socket. Closing the listener removes the socket.
//
// Who may connect is decided by the folder, which only its owner can enter.
func (d *Dir) Listen(name string) (net.Listener, error) {
	if d.meeting != nil {
		return d.meeting.Listen(name)
	}
	listener, err := d.listen(name)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", d.Path(name), bare(err))
	}
	return listener, nil
}

func (d *Dir) listen(name string) (net.Listener, error) {
	short, release, err := d.short(name)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := clearStale(short); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The short path is gone by then, and its number another file's.
	listener.SetUnlinkOnClose(false)
	made, err := os.Lstat(short)
	if err == nil {
		err = os.Chmod(short, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &socket{UnixListener: listener, path: d.Path(name), made: made}, nil
}

// clearStale removes a socket that nobody listens on any more.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("there is %s: remove it or move it away", kind(info.Mode()))
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("another process listens there"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Dial connects to a unix socket in the unit's folder, however long the folder's
// path is. The name is a path below the folder. Without a socket the error is
// fs.ErrNotExist, without a listener syscall.ECONNREFUSED.
func (d *Dir) Dial(ctx context.Context, name string) (net.Conn, error) {
	if d.meeting != nil {
		return d.meeting.Dial(ctx, name)
	}
	short, release, err := d.short(name)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", d.Path(name), err)
	}
	defer release()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", short)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", d.Path(name), bare(err))
	}
	return conn, nil
}

// short returns a path for something in the unit's folder that fits into the
// address of a socket. It is valid until it is released.
func (d *Dir) short(name string) (path string, release func() error, err error) {
	if !filepath.IsLocal(name) || name == "." {
		return "", nil, fmt.Errorf("%q is no path below a folder", name)
	}
	// A folder that replaced ours would be no place for a socket.
	dir, err := os.OpenFile(d.path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name), dir.Close, nil
}

// bare leaves the short path out of an error, which says nothing to a person.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// socket is a listener whose Close removes its own file, and no later one.
type socket struct {
	*net.UnixListener
	path   string
	made   fs.FileInfo
	closed sync.Once
}

// Close stops listening and removes the socket.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	s.closed.Do(func() {
		current, statErr := os.Lstat(s.path)
		// A number of an inode comes again at once on some file systems.
		if statErr == nil && os.SameFile(s.made, current) && s.made.ModTime().Equal(current.ModTime()) {
			err = errors.Join(err, os.Remove(s.path))
		}
	})
	return err
}

// Addr returns the socket's true path.
func (s *socket) Addr() net.Addr {
	return &net.UnixAddr{Name: s.path, Net: "unix"}
}
