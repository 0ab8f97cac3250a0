package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
	pollInterval = 20 * time.Millisecond
)

// Process is a background process, identified beyond the reuse of its number.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// StartTicks is the process's start time in clock ticks after boot, field
	// 22 of /proc/PID/stat.
	StartTicks uint64 `json:"start_ticks"`
}

// Alive reports whether this very process still runs.
func (p Process) Alive() bool {
	ticks, err := startTicks(p.PID)
	return err == nil && ticks == p.StartTicks
}

// startTicks returns when a process started; an error when it is gone or only
// waits for its parent to notice its end.
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may itself
	// hold spaces and parentheses.
	_, rest, ok := cutLast(string(data), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("cannot read /proc/%d/stat: unknown format", pid)
	}
	if state := fields[0]; state == "Z" || state == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// spawn is a background process that is to be started.
type spawn struct {
	name string
	argv []string
	env  []string
	// ready returns true once the process serves; nil waits for a line "ready"
	// in its output.
	ready func(ctx context.Context) bool
	// patience is how long it may take to be ready; 0 is readyTimeout.
	patience time.Duration
	// first lets it be the first process of a namespace for processes of its own, so
	// that all that it starts ends with it, whatever ends it.
	first bool
}

// start starts a process that outlives this one, with its output in the lab's
// log directory, and returns once it is ready. The process is in l.Processes
// from its first moment.
func (l *Lab) start(ctx context.Context, s spawn) error {
	logPath := filepath.Join(l.LogDir(), s.name+".log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", s.name, err)
	}
	defer logFile.Close()

	// Not CommandContext: the process is to survive this one's end.
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Env = s.env
	cmd.Dir = "/"
	cmd.Stdout = logFile
	cmd.Stderr = logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.first {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", s.name, err)
	}
	ticks, err := startTicks(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("cannot start %s: it ended at once: %s", s.name, lastLines(logPath))
	}
	l.Processes = append(l.Processes, Process{Name: s.name, PID: cmd.Process.Pid, StartTicks: ticks})
	if err := l.save(); err != nil {
		return err
	}

	ready := s.ready
	if ready == nil {
		ready = func(context.Context) bool { return saysReady(logPath) }
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	patience := cmp.Or(s.patience, readyTimeout)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("cannot start %s: it ended (%v) before it was ready: %s", s.name, err, lastLines(logPath))
		case <-ctx.Done():
			return fmt.Errorf("cannot start %s: not ready within %s: %s", s.name, patience, lastLines(logPath))
		case <-tick.C:
			if ready(ctx) {
				return nil
			}
		}
	}
}

func saysReady(logPath string) bool {
	data, err := os.ReadFile(logPath)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(data) {
		if string(line) == "ready\n" {
			return true
		}
	}
	return false
}

// lastLines returns the end of a log for an error message.
func lastLines(path string) string {
	const most = 5
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = lines[max(0, len(lines)-most):]
	return strings.Join(lines, " | ") + " (" + path + ")"
}

// stop ends a process: SIGTERM, and SIGKILL when that has no effect in time.
func (p Process) stop(ctx context.Context) error {
	return p.stopWithin(ctx, stopTimeout)
}

func (p Process) stopWithin(ctx context.Context, patience time.Duration) error {
	if !p.Alive() {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(p.PID, signal); err != nil {
			if errors.Is(err, syscall.ESRCH) {
				return nil
			}
			return fmt.Errorf("cannot end %s (process %d): %w", p.Name, p.PID, err)
		}
		if p.waitGone(ctx, patience) {
			return nil
		}
	}
	return fmt.Errorf("cannot end %s: process %d survives SIGKILL", p.Name, p.PID)
}

// waitGone reports whether the process ended within the time.
func (p Process) waitGone(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for p.Alive() {
		select {
		case <-ctx.Done():
			return !p.Alive()
		case <-tick.C:
		}
	}
	return true
}
