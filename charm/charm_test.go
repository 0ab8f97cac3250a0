package charm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

func TestDeployToRemoval(t *testing.T) {
	s := newStage(t)
	for _, hook := range []string{"install", "config-changed", "start", "update-status"} {
		s.hook(hook)
	}
	s.expectStatus(juju.Active, "2 runners: 2 idle")
	s.expectMachines(2)
	s.action("check-runners")
	if s.results["online"] != "2" || s.failure != "" {
		t.Errorf("check-runners: %v, %q", s.results, s.failure)
	}
	s.hook("stop")
	s.hook("remove")
	s.expectNothingLeft()
}

func (s *stage) expectNothingLeft() {
	s.Helper()
	s.expectMachines(0)
	if n := len(s.github.known); n != 0 {
		s.Errorf("%d registrations are left", n)
	}
	left, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*"))
	if err != nil || len(left) != 0 {
		s.Errorf("left: %v %v", left, err)
	}
}

func TestBadConfigurationChangesNothing(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.config["path"] = "a b"
	s.hook("config-changed")
	s.expectStatus(juju.Blocked, `path "a b" is not valid`)
	s.expectMachines(2)
	s.action("reconcile-runners")
	if !strings.Contains(s.results["warning"], "path") {
		t.Errorf("reconcile-runners: %v", s.results)
	}
	s.hook("stop")
	s.expectNothingLeft()
}

func TestBlockedFromTheStartHeals(t *testing.T) {
	s := newStage(t)
	path := s.config["path"]
	delete(s.config, "path")
	for _, hook := range []string{"install", "config-changed", "start"} {
		s.hook(hook)
		s.expectStatus(juju.Blocked, "path is missing")
	}
	s.action("check-runners")
	if !strings.Contains(s.failure, "path is missing") {
		t.Errorf("check-runners fails with %q", s.failure)
	}
	s.config["path"] = path
	s.hook("config-changed")
	s.expectStatus(juju.Active, "2 runners")
}

func TestStopNeedsNoConfiguration(t *testing.T) {
	s := newStage(t)
	delete(s.config, "token")
	s.hook("install")
	s.hook("stop")
	s.expectNothingLeft()
}

func TestStopAfterTheStateWasLost(t *testing.T) {
	for _, damage := range []func(path string) error{
		os.Remove,
		func(path string) error { return os.WriteFile(path, []byte("{\"version\": "), 0o600) },
	} {
		s := newStage(t)
		s.hook("config-changed")
		files, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*/state.json"))
		if err != nil || len(files) != 1 {
			t.Fatalf("state files: %v %v", files, err)
		}
		if err := damage(files[0]); err != nil {
			t.Fatal(err)
		}
		s.hook("stop")
		s.expectNothingLeft()
	}
}

func TestStopAfterNothingButAnAction(t *testing.T) {
	s := newStage(t)
	s.hook("install")
	s.action("flush-runners")
	s.expectMachines(2)
	s.hook("stop")
	s.expectNothingLeft()
}

func TestStopWhereLXDCouldNotBeInstalled(t *testing.T) {
	s := newStage(t)
	s.installed = false
	s.hook("config-changed")
	s.expectStatus(juju.Blocked, "install LXD by hand")
	s.hook("stop")
}

func TestNothingIsMadeForAUnitThatStops(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.cloud.AddFault(slowcloud.Fault{Method: "Destroy", Err: runner.ErrBusy, Times: 1})
	if err := s.call(juju.KindHook, "stop"); err == nil {
		t.Fatal("stop succeeds although something is left")
	}
	for _, action := range []string{"flush-runners", "reconcile-runners"} {
		s.action(action)
		if !strings.Contains(s.failure, "being removed") {
			t.Errorf("%s: %q, %v", action, s.failure, s.results)
		}
	}
	s.hook("update-status")
	s.expectMachines(0)
	s.hook("stop")
	s.expectNothingLeft()
}

// An action may come between the change of an option and its hook.
func TestTokenOfAFormerPathIsKept(t *testing.T) {
	for _, first := range []string{"flush-runners", ""} {
		s := newStage(t)
		s.hook("config-changed")
		busy := s.cloud.Truth()[0].Name
		if err := s.cloud.TakeJob(busy); err != nil {
			t.Fatal(err)
		}
		s.config["path"], s.config["token"] = "acme/other", "ghp_other"
		if first != "" {
			s.action(first)
		}
		s.hook("config-changed")
		s.hook("update-status")
		former := runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}
		if s.formerly[former].Token.Reveal() != "ghp_example" {
			t.Errorf("after %q, the credentials of former paths are %v", first, s.formerly)
		}
		s.expectMachines(2)
		for _, machine := range s.cloud.Truth() {
			if machine.Scope == former && machine.Name != busy {
				t.Errorf("idle %s of the former path is left", machine.Name)
			}
		}
	}
}

func TestMendedConfigurationIsTriedAtOnce(t *testing.T) {
	s := newStage(t)
	s.github.err = fmt.Errorf("the group is missing: %w", runner.ErrNotFound)
	for range 5 {
		s.hook("update-status")
	}
	s.github.err = nil
	s.config["group"] = "another"
	s.config["path"] = "acme"
	s.hook("config-changed")
	s.expectStatus(juju.Active, "2 runners: 2 idle")
}

// Zeros would say that there are no runners.
func TestNoCountsWithoutALook(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.cloud.AddFault(slowcloud.Fault{Method: "List", Err: fmt.Errorf("cannot dial: %w", runner.ErrUnreachable)})
	s.params = map[string]any{"mode": "flush-idle"}
	for _, action := range []string{"check-runners", "reconcile-runners", "flush-runners"} {
		s.action(action)
		if s.failure == "" {
			t.Errorf("%s does not fail", action)
		}
		for _, count := range []string{"online", "busy", "offline", "unknown", "runners", "delta.virtual-machines"} {
			if value, found := s.results[count]; found {
				t.Errorf("%s says %s=%q", action, count, value)
			}
		}
	}
	s.cloud.ClearFaults()
	s.action("check-runners")
	if s.results["online"] == "" {
		t.Errorf("with the cloud back, check-runners says %v", s.results)
	}
}

func TestUnknownHookIsAnError(t *testing.T) {
	s := newStage(t)
	if err := s.call(juju.KindHook, "leader-elected"); err == nil {
		t.Error("a hook that this charm does not have was answered")
	}
}

func TestStateThatCannotBeWrittenIsToldAndKeepsNothing(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	files, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*/state.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("state files: %v %v", files, err)
	}
	blocker := files[0] + ".tmp"
	if err := os.Mkdir(blocker, 0o700); err != nil {
		t.Fatal(err)
	}
	s.config["virtual-machines"] = int64(3)
	s.hook("config-changed")
	s.expectMachines(3)
	s.expectStatus(juju.Active, "cannot write the unit's state")
	if err := os.Remove(blocker); err != nil {
		t.Fatal(err)
	}
	s.hook("update-status")
	if strings.Contains(s.message, "cannot write") {
		t.Errorf("the status is still %q", s.message)
	}
}
