package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what one process cost.
type Usage struct {
	// CPU is the time in user and kernel mode of the process itself, without
	// what the programs that it started used.
	CPU time.Duration
	// PeakMemory is the most resident memory that it had, in bytes.
	PeakMemory int64
	// Wall is the time from its start to its end.
	Wall time.Duration
}

// command is a process to be measured.
type command struct {
	path string
	args []string
	env  []string
	dir  string
	// output is the file for what it prints.
	output string
}

// launch forks, says the number of the new process and ends. The new process
// becomes the program once descriptor 3 is closed. Its peak memory is then its
// own: the kernel counts that of a process that was started directly from the
// memory of the one that started it.
const launch = `output=$1; shift; { read -r go <&3; exec "$@" 3<&-; } </dev/null >"$output" 2>&1 & echo $!`

// becomeSubreaper makes the processes whose starters have ended children of this
// process, so that it can wait for them.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot measure processes: %w", err)
	}
	return nil
}

// measure runs a process to its end. When ctx ends first, the process is asked
// to end. An exit status other than 0 is an error.
func measure(ctx context.Context, c command) (Usage, error) {
	pid, release, err := c.fork(ctx)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot start %s: %w", c.path, err)
	}
	// What it has used so far is the shell's.
	before, beforeErr := clock(pid)
	began := time.Now()
	release()
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGTERM) }) // it may just have ended
	usage, status, err := awaitEnd(pid, began)
	stop()
	usage.CPU -= before
	switch {
	case ctx.Err() != nil:
		return Usage{}, ctx.Err()
	case errors.Join(err, beforeErr) != nil:
		return Usage{}, fmt.Errorf("cannot measure %s: %w", c.path, errors.Join(err, beforeErr))
	case status.ExitStatus() != 0:
		output, _ := os.ReadFile(c.output) // what can't be read is not quoted
		return Usage{}, fmt.Errorf("cannot measure %s: it ended with exit status %d (signal %d): %s", c.path, status.ExitStatus(), status.Signal(), tail(output))
	}
	return usage, nil
}

// fork makes the process, a child of this one, which waits until it is released
// to become the program.
func (c command) fork(ctx context.Context) (pid int, release func(), err error) {
	gate, opener, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer gate.Close()
	shell := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", launch, "sh", c.output, c.path}, c.args...)...)
	shell.Env = c.env
	shell.Dir = c.dir
	shell.ExtraFiles = []*os.File{gate}
	told, err := shell.Output()
	if err != nil {
		opener.Close()
		return 0, nil, err
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(told)))
	if err != nil {
		opener.Close()
		return 0, nil, fmt.Errorf("the shell answers %q", told)
	}
	return pid, func() { opener.Close() }, nil
}

// awaitEnd waits for a process, reads its clock while it is a zombie, and lets
// it go.
func awaitEnd(pid int, began time.Time) (Usage, unix.WaitStatus, error) {
	var usage Usage
	var status unix.WaitStatus
	if err := again(func() error {
		return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}); err != nil {
		return usage, status, fmt.Errorf("waitid: %w", err)
	}
	usage.Wall = time.Since(began)
	used, clockErr := clock(pid)
	usage.CPU = used
	var resources unix.Rusage
	if err := again(func() error {
		_, err := unix.Wait4(pid, &status, 0, &resources)
		return err
	}); err != nil {
		return usage, status, fmt.Errorf("wait4: %w", err)
	}
	usage.PeakMemory = resources.Maxrss << 10
	return usage, status, clockErr
}

// clock returns the CPU time that a whole process has used, but not its
// children's; see clock_getcpuclockid(3).
func clock(pid int) (time.Duration, error) {
	const scheduler = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &used); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(used.Nano()), nil
}

// again repeats a call that a signal interrupts.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

const maxQuoted = 1 << 10

// tail is the end of what a process printed, for an error.
func tail(output []byte) string {
	text := strings.TrimSpace(string(output))
	return text[max(0, len(text)-maxQuoted):]
}
