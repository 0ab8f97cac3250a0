package services

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const (
	// daemonLog is what the daemon itself says, since it was last started.
	daemonLog = "daemon.log"
	// maxDaemonLog is the size at which it begins anew.
	maxDaemonLog = 1 << 20
)

// direct starts the daemon as a process of its own, which outlives the hook.
type direct struct {
	*Unit
}

// daemonEnvironment is all that the daemon has of an environment. Its socket is
// named from its own folder: the whole path may be too long for a socket. It
// keeps no state but its layer: everything else is looked up.
func (u *Unit) daemonEnvironment() []string {
	return []string{"PATH=" + searchPath, "PEBBLE=" + u.home(), "PEBBLE_SOCKET=" + socketName, "PEBBLE_PERSIST=never"}
}

func (d direct) start(ctx context.Context) error {
	ready, err := listenForReady()
	if err != nil {
		return err
	}
	defer ready.Close()
	log, err := os.OpenFile(filepath.Join(d.home(), daemonLog), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// Not CommandContext: the daemon is to outlive us.
	cmd := exec.Command(d.pebble, "run")
	cmd.Dir = d.home()
	cmd.Env = append(d.daemonEnvironment(), "NOTIFY_SOCKET="+ready.LocalAddr().String())
	// Files and no pipes: nobody has to stay to read them.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		ready.Close()
	}()
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	defer stop()
	if err := waitReady(ready); err == nil {
		return nil
	}
	select {
	case err := <-ended:
		return fmt.Errorf("it ended before it was ready (%v): %s", err, lastLine(log.Name()))
	default:
	}
	return errors.Join(fmt.Errorf("it is not ready: %w", context.Cause(ctx)), cmd.Process.Kill())
}

func (d direct) tidy() error {
	path := filepath.Join(d.home(), daemonLog)
	info, err := os.Lstat(path)
	if err != nil || info.Size() < maxDaemonLog {
		return ignoreMissing(err)
	}
	return os.Truncate(path, 0)
}

func (d direct) stop(ctx context.Context) error {
	daemons, _, err := d.processes()
	if err != nil {
		return err
	}
	for _, p := range daemons {
		err = errors.Join(err, d.end(ctx, p, daemonPatience))
	}
	return err
}

func (direct) forget(context.Context) error { return nil }

// listenForReady makes the socket that the daemon reports to, as to systemd. It is
// an abstract one, which needs no path.
func listenForReady() (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@github-runner-" + rand.Text(), Net: "unixgram"})
}

// waitReady waits for the word that the daemon is ready, or for the end of the
// socket.
func waitReady(ready *net.UnixConn) error {
	buffer := make([]byte, 1024)
	for {
		n, err := ready.Read(buffer)
		if err != nil {
			return err
		}
		if bytes.Contains(buffer[:n], []byte("READY=1")) {
			return nil
		}
	}
}

// lastLine is the end of a short log, for an error.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(lines[len(lines)-1])
}
