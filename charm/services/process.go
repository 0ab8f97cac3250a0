package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is one of the unit's processes: its daemon, or a service.
type process struct {
	pid    int
	parent int
	// service is the name of the service; empty for the daemon.
	service string
	// current is false for one that was started from another build or with
	// another environment than one would be now.
	current bool
}

// processes finds the daemons of the unit and the processes of its services.
// There is more than one daemon only where somebody started one by hand.
func (u *Unit) processes() (daemons, services []process, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot look for the unit's processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		p, ok := u.identify(pid)
		switch {
		case !ok:
		case p.service == "":
			daemons = append(daemons, p)
		default:
			services = append(services, p)
		}
	}
	return withoutForks(daemons), services, nil
}

// withoutForks leaves out what a daemon is just turning into a service or a
// check: until it does, it looks like its parent.
func withoutForks(daemons []process) []process {
	pids := map[int]bool{}
	for _, d := range daemons {
		pids[d.pid] = true
	}
	return slices.DeleteFunc(daemons, func(d process) bool { return pids[d.parent] })
}

// deletedMark is what the kernel puts behind the path of a program whose file
// was replaced.
const deletedMark = " (deleted)"

// identify reports whether a process is one of the unit's. A process that ends
// meanwhile, or that we may not look at, is none.
func (u *Unit) identify(pid int) (process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	path, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return process{}, false
	}
	path = strings.TrimSuffix(path, deletedMark)
	if path != u.pebble && path != u.program {
		return process{}, false
	}
	args, env := words(filepath.Join(dir, "cmdline")), words(filepath.Join(dir, "environ"))
	p := process{pid: pid, parent: parent(dir)}
	if path == u.pebble {
		if len(args) < 2 || args[1] != "run" || !slices.Contains(env, "PEBBLE="+u.home()) {
			return process{}, false
		}
		p.current = same(filepath.Join(dir, "exe"), path)
		return p, true
	}
	for _, s := range all() {
		if !slices.Equal(args, u.arguments(s)) {
			continue
		}
		p.service = s.name
		p.current = same(filepath.Join(dir, "exe"), path) && u.environmentIs(env)
		return p, true
	}
	return process{}, false
}

// environmentIs reports whether a service has the environment that one would get
// now, whatever the daemon adds to it.
func (u *Unit) environmentIs(env []string) bool {
	have := map[string]string{}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		have[name] = value
	}
	want := u.environment()
	for _, name := range []string{"PATH", "GITHUB_RUNNER_ROOT", "LXD_DIR"} {
		if have[name] != want[name] {
			return false
		}
	}
	return true
}

// words are what a file of /proc separates by zeros.
func words(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// parent is the number of a process's parent, 0 when it is gone.
func parent(dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0
	}
	// The name of the program, in parentheses, may have any characters.
	_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	number, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return number
}

// same reports whether two paths lead to the same file, now.
func same(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// end ends a process of the unit's: SIGTERM, and SIGKILL when that has no effect
// within the patience. It does nothing to another that has its number by now.
func (u *Unit) end(ctx context.Context, p process, patience time.Duration) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot end process %d: %w", p.pid, err)
	}
	defer unix.Close(fd)
	if now, ok := u.identify(p.pid); !ok || now.service != p.service {
		return nil
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot end process %d: %w", p.pid, err)
		}
		ended, err := waitEnd(ctx, fd, patience)
		if ended || err != nil {
			return err
		}
	}
	return fmt.Errorf("cannot end process %d: it survives SIGKILL", p.pid)
}

// waitEnd waits for the end of a process, for some time or until ctx ends, which
// is an error.
func waitEnd(ctx context.Context, pidfd int, patience time.Duration) (bool, error) {
	given, give, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer given.Close()
	defer give.Close()
	stop := context.AfterFunc(ctx, func() { give.Write([]byte{0}) })
	defer stop()
	deadline := time.Now().Add(patience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false, nil
		}
		watched := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(given.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(watched, int(left.Milliseconds())+1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, err
		case watched[0].Revents != 0:
			return true, nil
		case watched[1].Revents != 0:
			return false, fmt.Errorf("cannot wait for the end of a process: %w", ctx.Err())
		}
	}
}
