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

// launch starts a program as a child of a shell that ends at once. Its peak
// memory is then its own: the kernel counts that of a process that was started
// directly from the memory of the one that started it.
const launch = `output=$1; shift; "$@" </dev/null >"$output" 2>&1 & echo $!`

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
	began := time.Now()
	shell := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", launch, "sh", c.output, c.path}, c.args...)...)
	shell.Env = c.env
	shell.Dir = c.dir
	told, err := shell.Output()
	if err != nil {
		return Usage{}, fmt.Errorf("cannot start %s: %w", c.path, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(told)))
	if err != nil {
		return Usage{}, fmt.Errorf("cannot start %s: the shell answers %q", c.path, told)
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGTERM) }) // it may just have ended
	usage, status, err := awaitEnd(pid, began)
	stop()
	switch {
	case err != nil:
		return Usage{}, fmt.Errorf("cannot measure %s: %w", c.path, err)
	case ctx.Err() != nil:
		return Usage{}, ctx.Err()
	case status.ExitStatus() != 0:
		output, _ := os.ReadFile(c.output) // what can't be read is not quoted
		return Usage{}, fmt.Errorf("cannot measure %s: it ended with exit status %d (signal %d): %s", c.path, status.ExitStatus(), status.Signal(), tail(output))
	}
	return usage, nil
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
	var clock unix.Timespec
	clockErr := unix.ClockGettime(processClock(pid), &clock)
	usage.CPU = time.Duration(clock.Nano())
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

// processClock is the clock of a whole process's CPU time, but not its
// children's; see clock_getcpuclockid(3).
func processClock(pid int) int32 {
	const scheduler = 2
	return int32(^pid)<<3 | scheduler
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
