package charm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/takeover"
	"github-runner/lab/slowcloud"
)

// drained is a unit of two runners that was drained while one of them was busy.
func drained(t *testing.T) (s *stage, busy string) {
	s = newStage(t)
	s.hook("config-changed")
	busy = s.cloud.Truth()[0].Name
	if err := s.cloud.TakeJob(busy); err != nil {
		t.Fatal(err)
	}
	s.action("drain-runners")
	return s, busy
}

func (s *stage) expectOnly(name string) {
	s.Helper()
	if left := s.cloud.Truth(); len(left) != 1 || left[0].Name != name {
		s.Errorf("left are %v, want %s", left, name)
	}
}

func (s *stage) expectResults(want map[string]string) {
	s.Helper()
	if s.failure != "" {
		s.Errorf("the action failed: %s", s.failure)
	}
	for key, value := range want {
		if s.results[key] != value {
			s.Errorf("result %s is %q, want %q", key, s.results[key], value)
		}
	}
}

func (s *stage) resume() {
	s.Helper()
	s.params = map[string]any{"resume": true}
	s.action("drain-runners")
	s.params = nil
}

func TestDrain(t *testing.T) {
	s, busy := drained(t)
	s.expectResults(map[string]string{"drained": "true", "busy": "1", "busy-runners": busy, "runners-left": busy})
	s.expectStatus(juju.Maintenance, "drained, 1 busy; juju run github-runner/0 drain-runners resume=true starts runners again")
	s.expectOnly(busy)

	// Whatever comes next, none is made.
	s.config["virtual-machines"] = int64(4)
	for _, hook := range []string{"config-changed", "update-status", "upgrade-charm", "start"} {
		s.hook(hook)
		s.expectStatus(juju.Maintenance, "drained, 1 busy")
	}
	for _, action := range []string{"drain-runners", "reconcile-runners", "flush-runners", "check-runners"} {
		s.action(action)
		s.expectOnly(busy)
		if s.failure != "" || !strings.Contains(s.results["warning"], "the unit is drained") {
			t.Errorf("%s: %v %q", action, s.results, s.failure)
		}
	}
	if err := s.cloud.Complete(busy); err != nil {
		t.Fatal(err)
	}
	s.hook("update-status")
	s.expectStatus(juju.Maintenance, "drained, no runner is left; juju run")
	s.expectMachines(0)

	for range 2 {
		s.resume()
		s.expectResults(map[string]string{"drained": "false", "runners-left": ""})
		if strings.Contains(s.results["warning"], "drained") {
			t.Errorf("after resume=true, %v", s.results)
		}
	}
	s.hook("update-status")
	s.expectStatus(juju.Active, "4 runners: 4 idle")
}

func TestDrainedUnitIsRemoved(t *testing.T) {
	s, _ := drained(t)
	s.hook("stop")
	s.hook("remove")
	s.expectNothingLeft()
}

// An operator who waited for the jobs of a drained unit must not find new ones.
func TestDrainedAfterTheStateWasLost(t *testing.T) {
	s, busy := drained(t)
	files, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*/state.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("state files: %v %v", files, err)
	}
	for _, damage := range []func() error{
		func() error { return os.WriteFile(files[0], []byte("{"), 0o600) },
		func() error { return os.Remove(files[0]) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		s.hook("update-status")
		s.expectStatus(juju.Maintenance, "drained, 1 busy")
		s.expectOnly(busy)
	}
}

func TestDrainedWithABadConfiguration(t *testing.T) {
	s, busy := drained(t)
	s.config["path"] = "a b"
	s.hook("config-changed")
	s.expectStatus(juju.Blocked, `path "a b" is not valid`)
	s.expectStatus(juju.Blocked, "drained, 1 busy")
	s.expectOnly(busy)
	s.resume()
	s.expectStatus(juju.Blocked, `path "a b" is not valid`)
	s.expectMachines(2)
}

// What can't be done now is done by the next hook.
func TestDrainWithoutTheCloud(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.cloud.AddFault(slowcloud.Fault{Method: "List", Err: fmt.Errorf("cannot dial: %w", runner.ErrUnreachable)})
	s.action("drain-runners")
	s.expectResults(map[string]string{"drained": "true", "online": "", "runners-left": "unknown"})
	if !strings.Contains(s.results["warning"], "cannot dial") {
		t.Errorf("the warning is %q", s.results["warning"])
	}
	s.expectStatus(juju.Waiting, "cannot dial")
	s.expectStatus(juju.Waiting, "drained; juju run")
	s.cloud.ClearFaults()
	s.hook("update-status")
	s.expectStatus(juju.Maintenance, "drained, no runner is left")
	s.expectMachines(0)
}

func TestDrainThatCanNotBeRemembered(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	folders, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("folders: %v %v", folders, err)
	}
	if err := os.Mkdir(filepath.Join(folders[0], "drained.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.action("drain-runners")
	if !strings.Contains(s.failure, "cannot mark the unit as drained") {
		t.Errorf("drain-runners: %q, %v", s.failure, s.results)
	}
	s.expectMachines(2)
}

func TestDrainWithAnOddParameter(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.params = map[string]any{"resume": "yes"}
	s.action("drain-runners")
	if !strings.Contains(s.failure, "resume is yes: it must be true or false") {
		t.Errorf("drain-runners: %q", s.failure)
	}
	s.expectMachines(2)
}

func TestDrainBesideAFormerCharm(t *testing.T) {
	s := newStage(t)
	s.former = &former{stage: s, refuse: true, runners: takeover.Runners{Free: named("free", 1), Busy: named("old", 1)}}
	s.hook("config-changed")
	s.former.refuse = false
	s.action("drain-runners")
	s.expectResults(map[string]string{"drained": "true", "former-runners": "old-0"})
	s.expectStatus(juju.Maintenance, "drained; juju run")
	s.expectStatus(juju.Maintenance, "taking over: ")
	s.hook("update-status")
	s.expectMachines(0)
}
