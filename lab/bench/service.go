package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github-runner/charm/agent"
	charmunit "github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

const (
	// serviceDeadline bounds the start of a service, and its end.
	serviceDeadline = 30 * time.Second
	// askAgain is how often a service is asked whether it has come so far.
	askAgain = 20 * time.Millisecond
)

// service is one of the charm's resident processes, without Pebble.
type service struct {
	pid    int
	dir    *unitdir.Dir
	output string
}

// serve starts the charm's program in one of its roles.
func (u *unit) serve(ctx context.Context, role string) (*service, error) {
	dir, err := unitdir.Find(u.stage.root, u.owner.Prefix())
	if err != nil {
		return nil, err
	}
	c := command{
		path:   filepath.Join(u.dir, "charm/github-runner"),
		args:   []string{role, "--unit", u.owner.Prefix()},
		env:    append(u.stage.environment(), "PATH="+os.Getenv("PATH")),
		dir:    filepath.Join(u.dir, "charm"),
		output: filepath.Join(u.dir, role+"-output"),
	}
	pid, release, err := c.fork(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot start the %s: %w", role, err)
	}
	release()
	return &service{pid: pid, dir: dir, output: c.output}, nil
}

// end ends the process.
func (s *service) end() error {
	if err := unix.Kill(s.pid, unix.SIGTERM); err != nil {
		return err
	}
	kill := time.AfterFunc(serviceDeadline, func() { _ = unix.Kill(s.pid, unix.SIGKILL) })
	defer kill.Stop()
	_, status, err := awaitEnd(s.pid, time.Now())
	if err == nil && status.ExitStatus() != 0 {
		output, _ := os.ReadFile(s.output) // what can't be read is not quoted
		err = fmt.Errorf("it ended with exit status %d: %s", status.ExitStatus(), tail(output))
	}
	return err
}

// wake makes an agent look after everything, as its interval does, and returns
// once it has.
func (s *service) wake(ctx context.Context) error {
	before, err := s.status(ctx)
	if err != nil {
		return err
	}
	if err := unix.Kill(s.pid, unix.SIGHUP); err != nil {
		return err
	}
	return s.until(ctx, func(now agent.Status) bool {
		return now.Reconciled.After(before.Reconciled) && now.LastError == ""
	})
}

// settled waits until an agent has looked at its runners.
func (s *service) settled(ctx context.Context) error {
	return s.until(ctx, func(now agent.Status) bool { return !now.Reconciled.IsZero() && now.LastError == "" })
}

func (s *service) until(ctx context.Context, holds func(agent.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, serviceDeadline)
	defer cancel()
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	for {
		now, err := s.status(ctx)
		if err == nil && holds(now) {
			return nil
		}
		select {
		case <-ctx.Done():
			output, _ := os.ReadFile(s.output) // what can't be read is not quoted
			return fmt.Errorf("the agent does not get there (%w): %+v: %s", errors.Join(ctx.Err(), err), now, tail(output))
		case <-ticker.C:
		}
	}
}

// status asks an agent for its status.
func (s *service) status(ctx context.Context) (agent.Status, error) {
	var status agent.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/status", nil)
	if err != nil {
		return status, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.dir.Dial(ctx, charmunit.AgentSocket)
		},
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return status, err
	}
	defer response.Body.Close()
	return status, json.NewDecoder(response.Body).Decode(&status)
}

// memory returns the resident memory of the process in bytes: now, and the most
// that it was.
func (s *service) memory() (now, most int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return 0, 0, err
	}
	return kilobytes(string(text), "VmRSS:"), kilobytes(string(text), "VmHWM:"), nil
}

// kilobytes is what a line of /proc/…/status tells, in bytes.
func kilobytes(status, key string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			number, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return number << 10
		}
	}
	return 0
}
