package services

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var both = Want{Agent: true, Policy: true}

func TestServicesRunAndStopLeavesNothing(t *testing.T) {
	root := longRoot(t)
	s := newStage(t, root, "github-runner-0-ab12")
	if mended := s.ensure(both); len(mended) > 0 {
		t.Errorf("the first start mends %q", mended)
	}
	agent, policy := s.await(Agent, 0), s.await(Policy, 0)
	daemon := s.daemon()
	for _, p := range []process{agent, policy} {
		if p.parent != daemon.pid || !p.current {
			t.Errorf("%+v is not a current child of the daemon %d", p, daemon.pid)
		}
	}
	// Nothing to do: nothing is touched.
	if mended := s.ensure(both); len(mended) > 0 {
		t.Errorf("the second Ensure mends %q", mended)
	}
	if again := s.await(Agent, 0); again.pid != agent.pid || s.daemon().pid != daemon.pid {
		t.Error("an Ensure with nothing to do started something again")
	}
	for _, name := range []string{Agent, Policy} {
		s.awaitHealth(name, func(h Health) bool { return h.Healthy && !h.Since.IsZero() && h.String() == "" })
	}
	// Who may reach the daemon is decided by the folder.
	for _, path := range []string{s.dir.Path(), s.home()} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}

	must(t, s.Stop(t.Context()))
	daemons, running, err := s.processes()
	must(t, err)
	if len(daemons)+len(running) > 0 {
		t.Errorf("after Stop there are %+v, %+v", daemons, running)
	}
	if left, err := os.ReadDir(s.dir.Path()); err != nil || len(left) > 0 {
		t.Errorf("after Stop the unit's folder has %v, %v", left, err)
	}
	must(t, s.Stop(t.Context()))
	if _, err := s.Report(t.Context()); err == nil || !strings.Contains(err.Error(), "do not run") {
		t.Errorf("Report after Stop: %v", err)
	}
}

func TestAServiceThatIsNotWantedEndsAndComesBack(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	s.ensure(both)
	policy := s.await(Policy, 0)
	s.await(Agent, 0)
	s.ensure(Want{Policy: true})
	_, running, err := s.processes()
	must(t, err)
	if len(running) != 1 || running[0].pid != policy.pid {
		t.Errorf("what runs is %+v, want the policy service that ran", running)
	}
	// A service that was switched off stays off, however often that is said.
	s.ensure(Want{Policy: true})
	health, err := s.Report(t.Context())
	must(t, err)
	if len(health) != 1 || health[0].Name != Policy {
		t.Errorf("Report tells of %+v", health)
	}
	if mended := s.ensure(both); len(mended) > 0 {
		t.Errorf("switching the agent on mends %q", mended)
	}
	s.await(Agent, 0)
}

func TestWhatWasKilledComesBack(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	s.ensure(both)
	agent := s.await(Agent, 0)
	kill(t, agent)
	agent = s.await(Agent, agent.pid) // by Pebble

	daemon := s.daemon()
	kill(t, daemon)
	mended := s.ensure(both)
	if len(mended) != 1 || !strings.Contains(mended[0], "Pebble") || !strings.Contains(mended[0], "started again") {
		t.Errorf("a killed daemon is mended as %q", mended)
	}
	again := s.await(Agent, agent.pid)
	if s.daemon().pid == daemon.pid || again.parent != s.daemon().pid {
		t.Errorf("after the mending %+v and %+v run", s.daemon(), again)
	}
	// The one that the killed daemon left was ended: one agent runs.
	s.await(Policy, 0)
	_, running, err := s.processes()
	must(t, err)
	if len(running) != 2 {
		t.Errorf("%+v run, want one agent and one policy service", running)
	}
}

func TestAStuckDaemonIsReplaced(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	s.ensure(both)
	s.await(Agent, 0)
	daemon := s.daemon()
	halt(t, daemon)
	mended := s.ensure(both)
	if len(mended) != 1 || !strings.Contains(mended[0], "did not answer") {
		t.Errorf("a stuck daemon is mended as %q", mended)
	}
	if s.daemon().pid == daemon.pid {
		t.Error("the stuck daemon is still there")
	}
	s.await(Agent, 0)
}

// overdue is a context whose deadline is when it is cancelled.
type overdue struct {
	context.Context
}

func (o overdue) Err() error {
	if o.Context.Err() == nil {
		return nil
	}
	return context.DeadlineExceeded
}

// Value keeps contexts that are made of it from the error of the one inside.
func (overdue) Value(any) any { return nil }

func TestADaemonThatStopsAnsweringIsNamed(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	self, err := os.Executable()
	must(t, err)
	replace(t, s.pebble, self)
	s.ensure(both)

	ctx, pass := context.WithCancel(t.Context())
	go func() {
		defer pass()
		for t.Context().Err() == nil {
			if _, err := os.Stat(filepath.Join(s.home(), "asked")); err == nil {
				return
			}
			time.Sleep(time.Millisecond) // a file of another process tells nobody
		}
	}()
	if _, err := s.Ensure(overdue{ctx}, both); err == nil || !strings.Contains(err.Error(), "Pebble stopped answering, the next hook replaces it: cannot tell Pebble what to run") {
		t.Errorf("Ensure with a daemon that stops answering: %v", err)
	}
}

func TestAServiceThatEndsIsReportedAndStartedAgain(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	must(t, os.WriteFile(s.dir.Path("broken-agent"), nil, 0o600))
	s.ensure(both)
	sick := s.awaitHealth(Agent, func(h Health) bool { return !h.Running && len(h.Last) > 0 })
	if got := sick.String(); !strings.Contains(got, "the resident agent does not run: ") || !strings.Contains(got, "told to be broken") {
		t.Errorf("a broken agent is reported as %q", got)
	}
	mended := s.ensure(both)
	if len(mended) != 1 || !strings.Contains(mended[0], "the resident agent had ended and was started again: ") {
		t.Errorf("a broken agent is mended as %q", mended)
	}
	must(t, os.Remove(s.dir.Path("broken-agent")))
	s.ensure(both)
	s.awaitHealth(Agent, func(h Health) bool { return h.Healthy })
}

func TestARefreshedCharmIsStarted(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	s.ensure(both)
	agent, daemon := s.await(Agent, 0), s.daemon()
	install(t, filepath.Dir(s.program))
	if s.daemon().current || s.await(Agent, 0).current {
		t.Error("processes of replaced programs count as current")
	}
	if mended := s.ensure(both); len(mended) > 0 {
		t.Errorf("a refresh mends %q", mended)
	}
	newAgent, newDaemon := s.await(Agent, agent.pid), s.daemon()
	if newDaemon.pid == daemon.pid || !newDaemon.current || !newAgent.current {
		t.Errorf("after the refresh %+v and %+v run", newDaemon, newAgent)
	}

	// Only our own binary was replaced: only services are started again.
	self, err := os.Executable()
	must(t, err)
	replace(t, s.program, self)
	s.ensure(both)
	if last := s.await(Agent, newAgent.pid); !last.current || s.daemon().pid != newDaemon.pid {
		t.Errorf("after the second refresh %+v and %+v run", s.daemon(), last)
	}

	// Another environment is another service.
	agent = s.await(Agent, newAgent.pid)
	s.lxdDir = "/elsewhere"
	s.ensure(both)
	s.await(Agent, agent.pid)
}

func TestTwoUnitsOfAMachineLeaveEachOtherAlone(t *testing.T) {
	root := longRoot(t)
	first, second := newStage(t, root, "github-runner-0-ab12"), newStage(t, root, "github-runner-1-cd34")
	first.ensure(both)
	second.ensure(both)
	agent, daemon := second.await(Agent, 0), second.daemon()
	kill(t, first.daemon())
	first.ensure(both)
	must(t, first.Stop(t.Context()))
	if second.daemon().pid != daemon.pid || second.await(Agent, 0).pid != agent.pid {
		t.Error("what was done to the first unit changed the second")
	}
	if _, ok := second.identify(os.Getpid()); ok {
		t.Error("a process that is none of the unit's counts as one")
	}
}

func TestTheDaemonsLogIsBounded(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	s.ensure(both)
	log := filepath.Join(s.home(), daemonLog)
	must(t, os.Truncate(log, maxDaemonLog))
	s.ensure(both)
	s.ensure(both)
	info, err := os.Stat(log)
	must(t, err)
	if info.Size() == 0 || info.Size() >= maxDaemonLog {
		t.Errorf("the log has %d bytes", info.Size())
	}
}

func TestEnsureSaysWhyItCannot(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	must(t, os.Remove(s.pebble))
	if _, err := s.Ensure(t.Context(), both); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), s.pebble) {
		t.Errorf("Ensure without Pebble's program: %v", err)
	}
	must(t, os.WriteFile(s.pebble, []byte("#!/bin/sh\necho cannot run daemon: no luck today >&2\nexit 1\n"), 0o755))
	if _, err := s.Ensure(t.Context(), both); err == nil || !strings.Contains(err.Error(), "no luck today") {
		t.Errorf("Ensure with a Pebble that ends: %v", err)
	}
	must(t, os.RemoveAll(s.home()))
	must(t, os.WriteFile(s.home(), nil, 0o600))
	if _, err := s.Ensure(t.Context(), both); err == nil || !strings.Contains(err.Error(), s.home()) {
		t.Errorf("Ensure with a file for Pebble's folder: %v", err)
	}
}

func TestEndLeavesAnotherProcessAlone(t *testing.T) {
	s := newStage(t, longRoot(t), "github-runner-0-ab12")
	// As if our own number had been a service's.
	must(t, s.end(t.Context(), process{pid: os.Getpid(), service: Agent}, time.Second))
}

func TestAForkOfTheDaemonIsNoOther(t *testing.T) {
	daemons := []process{{pid: 10, parent: 1}, {pid: 11, parent: 10}, {pid: 20, parent: 1}}
	if got := withoutForks(daemons); len(got) != 2 || got[0].pid != 10 || got[1].pid != 20 {
		t.Errorf("the daemons are %+v", got)
	}
}
