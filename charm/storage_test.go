package charm

import (
	"errors"
	"strings"
	"testing"

	"github-runner/charm/juju"
	"github-runner/lab/slowcloud"
)

func TestStorageThatIsNotUsedMayGo(t *testing.T) {
	s := newStage(t)
	s.storage = t.TempDir()
	s.config["runner-storage"] = "memory"
	s.hook("config-changed")
	s.hook("runner-storage-detaching")
	s.expectMachines(2)

	s.config["runner-storage"] = "juju-storage"
	s.hook("config-changed")
	s.hook("runner-storage-detaching")
	s.expectMachines(0)
}

// A detached storage takes away what runs on it: the hook fails until nothing
// does, and nothing is put on it meanwhile.
func TestDetachingWaitsForBusyRunners(t *testing.T) {
	s := newStage(t)
	s.storage = t.TempDir()
	s.hook("config-changed")
	busy := s.cloud.Truth()[0].Name
	if err := s.cloud.TakeJob(busy); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := s.call(juju.KindHook, "runner-storage-detaching")
		if err == nil || !strings.Contains(err.Error(), busy) || !strings.Contains(err.Error(), "flush-busy") {
			t.Fatalf("detaching under a busy runner: %v", err)
		}
		s.action("reconcile-runners")
		s.expectStatus(juju.Active, "storage runner/0 is being detached")
		if left := s.cloud.Truth(); len(left) != 1 || left[0].Name != busy {
			t.Fatalf("left are %v", left)
		}
	}
	if err := s.cloud.Complete(busy); err != nil {
		t.Fatal(err)
	}
	s.hook("runner-storage-detaching")
	s.expectMachines(0)

	// Without it, and with it again, there are runners.
	storage := s.storage
	for _, s.storage = range []string{"", storage} {
		if s.storage != "" {
			s.hook("runner-storage-attached")
		}
		s.hook("update-status")
		s.expectStatus(juju.Active, "2 runners: 2 idle")
	}
}

// A runner that is busy stays on the storage when another one is configured, also
// when that is done while Juju already wants the storage back.
func TestDetachingWaitsForBusyRunnersOfTheFormerConfiguration(t *testing.T) {
	for _, first := range []string{"config-changed", "runner-storage-detaching"} {
		t.Run(first, func(t *testing.T) {
			s := newStage(t)
			s.storage = t.TempDir()
			s.hook("config-changed")
			busy := s.cloud.Truth()[0].Name
			if err := s.cloud.TakeJob(busy); err != nil {
				t.Fatal(err)
			}
			// As the cloud does while a runner is on the storage that is left.
			s.cloud.AddFault(slowcloud.Fault{Method: "Prepare", Err: errors.New("the other storage pool holds " + busy)})
			s.config["runner-storage"] = "memory"
			if err := s.call(juju.KindHook, first); err != nil && first == "config-changed" {
				t.Fatal(err)
			}
			err := s.call(juju.KindHook, "runner-storage-detaching")
			if err == nil || !strings.Contains(err.Error(), busy) {
				t.Errorf("detaching under a busy runner: %v", err)
			}
		})
	}
}

// Once no runner is on it any more, the storage goes without touching one.
func TestStorageThatWasLeftMayGo(t *testing.T) {
	s := newStage(t)
	s.storage = t.TempDir()
	s.hook("config-changed")
	s.config["runner-storage"] = "memory"
	s.hook("config-changed")
	s.hook("runner-storage-detaching")
	s.expectMachines(2)
}

func TestFlushEndsTheWaitForDetaching(t *testing.T) {
	s := newStage(t)
	s.storage = t.TempDir()
	s.hook("config-changed")
	if err := s.cloud.TakeJob(s.cloud.Truth()[0].Name); err != nil {
		t.Fatal(err)
	}
	if err := s.call(juju.KindHook, "runner-storage-detaching"); err == nil {
		t.Fatal("the storage goes from under a job")
	}
	s.params = map[string]any{"mode": "flush-busy"}
	s.action("flush-runners")
	s.expectMachines(0)
	s.hook("runner-storage-detaching")
}

func TestRemovedUnitWaitsForNobody(t *testing.T) {
	s := newStage(t)
	s.storage = t.TempDir()
	s.hook("config-changed")
	if err := s.cloud.TakeJob(s.cloud.Truth()[0].Name); err != nil {
		t.Fatal(err)
	}
	s.dying = true
	s.hook("runner-storage-detaching")
	s.expectMachines(0)
	s.hook("stop")
	s.expectNothingLeft()
}
