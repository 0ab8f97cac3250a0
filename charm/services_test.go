package charm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/services"
	"github-runner/charm/unitdir"
)

// residents are the unit's services in memory.
type residents struct {
	wants  []services.Want
	mended []string
	report []services.Health
	err    error
	// ensure is what an Ensure does first, stop what a Stop does.
	ensure  func()
	stop    func()
	stopErr error
	stopped int
}

func (r *residents) of(*unitdir.Dir) (Services, error) { return r, nil }

func (r *residents) Ensure(_ context.Context, want services.Want) ([]string, error) {
	if r.ensure != nil {
		r.ensure()
	}
	r.wants = append(r.wants, want)
	return r.mended, r.err
}

func (r *residents) Report(context.Context) ([]services.Health, error) { return r.report, r.err }

func (r *residents) Stop(context.Context) error {
	r.stopped++
	if r.stop != nil {
		r.stop()
	}
	return r.stopErr
}

func TestHooksKeepTheServicesRunning(t *testing.T) {
	s := newStage(t)
	s.services = &residents{}
	s.hook("install")
	if len(s.services.wants) > 0 {
		t.Errorf("before there is a state to work with, %+v are wanted", s.services.wants)
	}
	// The first runner may have a job as soon as it is online.
	s.services.ensure = func() {
		if made := len(s.cloud.Created()); made > 0 {
			t.Errorf("%d runners are made before there are services", made)
		}
	}
	s.hook("config-changed")
	s.services.ensure = nil
	for _, hook := range []string{"config-changed", "start", "update-status", "upgrade-charm"} {
		s.services.wants = nil
		s.hook(hook)
		if diff := cmp.Diff([]services.Want{{Agent: true, Policy: true}}, s.services.wants); diff != "" {
			t.Errorf("%s wants (-want +got):\n%s", hook, diff)
		}
	}
	if s.message != "2 runners: 2 idle" {
		t.Errorf("the status of a unit that is well: %q", s.message)
	}
	// The last applied state goes on beside a configuration that is bad.
	s.services.wants = nil
	s.config["path"] = "a b"
	s.hook("config-changed")
	if len(s.services.wants) != 1 {
		t.Errorf("with a bad configuration %+v are wanted", s.services.wants)
	}
	// And the agent of a new build with it: it ends where the state is another's.
	s.build = "next"
	s.hook("upgrade-charm")
	written, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*/state.json"))
	if err != nil || len(written) != 1 {
		t.Fatalf("written: %v, %v", written, err)
	}
	if content, err := os.ReadFile(written[0]); err != nil || !strings.Contains(string(content), `"next"`) {
		t.Errorf("after a refresh with a bad configuration the state is not the new build's: %v", err)
	}
}

func TestWithoutAStateThereAreNoServices(t *testing.T) {
	s := newStage(t)
	s.services = &residents{}
	delete(s.config, "path")
	s.hook("config-changed")
	s.expectStatus(juju.Blocked, "path is missing")
	if len(s.services.wants) > 0 {
		t.Errorf("%+v are wanted", s.services.wants)
	}
}

func TestAServiceThatIsNotWellIsANote(t *testing.T) {
	s := newStage(t)
	s.services = &residents{mended: []string{"the resident agent had ended and was started again"}}
	s.hook("config-changed")
	s.expectStatus(juju.Active, "2 runners: 2 idle; the resident agent had ended and was started again")
	s.action("reconcile-runners")
	if !strings.Contains(s.results["warning"], "the resident agent had ended") {
		t.Errorf("reconcile-runners: %v", s.results)
	}
	s.action("flush-runners")
	if !strings.Contains(s.results["warning"], "the resident agent had ended") {
		t.Errorf("flush-runners: %v", s.results)
	}

	s.services.mended, s.services.err = nil, errors.New("cannot start Pebble: no space")
	s.hook("update-status")
	s.expectStatus(juju.Active, "2 runners: 2 idle; the unit's services: cannot start Pebble: no space")
	s.expectMachines(2)

	s.services.err = nil
	s.services.report = []services.Health{{Name: services.Agent, Running: true, Healthy: true}, {Name: services.Policy}}
	s.services.wants = nil
	s.action("check-runners")
	if got := s.results["warning"]; got != "the policy service does not run" {
		t.Errorf("check-runners warns of %q", got)
	}
	if len(s.services.wants) > 0 {
		t.Error("check-runners changed the services")
	}
}

// An agent would make the runners be as was written down last, and hooks as they
// are wanted now.
func TestTheAgentRestsWhileTheStateCannotBeWritten(t *testing.T) {
	s := newStage(t)
	s.services = &residents{}
	s.hook("config-changed")
	written, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*/state.json"))
	if err != nil || len(written) != 1 {
		t.Fatalf("written: %v, %v", written, err)
	}
	temporary := written[0] + ".tmp"
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	wants := func() []services.Want {
		s.services.wants = nil
		s.hook("config-changed")
		return s.services.wants
	}
	if diff := cmp.Diff([]services.Want{{Agent: true, Policy: true}}, wants()); diff != "" {
		t.Errorf("with the written state in force (-want +got):\n%s", diff)
	}
	s.config["virtual-machines"] = int64(3)
	if diff := cmp.Diff([]services.Want{{Policy: true}}, wants()); diff != "" {
		t.Errorf("with another state in force (-want +got):\n%s", diff)
	}
	if err := os.Remove(temporary); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]services.Want{{Agent: true, Policy: true}}, wants()); diff != "" {
		t.Errorf("once it is written (-want +got):\n%s", diff)
	}
	s.expectMachines(3)
}

func TestTheAgentIsSwitchedOffByAFile(t *testing.T) {
	s := newStage(t)
	s.services = &residents{}
	file := filepath.Join(s.root, services.AgentOffFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.hook("config-changed")
	s.expectStatus(juju.Active, "2 runners: 2 idle; the resident agent is switched off by /etc/github-runner/no-agent")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.hook("update-status")
	if s.message != "2 runners: 2 idle" {
		t.Errorf("with the agent on again, the status is %q", s.message)
	}
	if diff := cmp.Diff([]services.Want{{Policy: true}, {Agent: true, Policy: true}}, s.services.wants); diff != "" {
		t.Errorf("wanted (-want +got):\n%s", diff)
	}
}

func TestStopEndsTheServicesBeforeItWaitsForTheUnit(t *testing.T) {
	s := newStage(t)
	s.services = &residents{}
	s.hook("config-changed")
	// The agent has the unit until it is ended.
	owner := runner.Owner{ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000", Unit: "github-runner/0"}
	dir, err := unitdir.Open(s.root, owner.Prefix())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := dir.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.services.stop = unlock
	s.hook("stop")
	s.expectNothingLeft()
	if s.services.stopped != 1 {
		t.Errorf("the services were stopped %d times", s.services.stopped)
	}
	s.hook("remove")
	s.expectNothingLeft()
}

func TestStopSaysThatServicesAreLeft(t *testing.T) {
	s := newStage(t)
	s.services = &residents{stopErr: errors.New("cannot end process 7: it survives SIGKILL")}
	s.hook("config-changed")
	if err := s.call(juju.KindHook, "stop"); err == nil || !strings.Contains(err.Error(), "process 7") {
		t.Errorf("stop: %v", err)
	}
	s.expectMachines(0)
	s.services.stopErr = nil
	s.hook("stop")
	s.expectNothingLeft()
}
