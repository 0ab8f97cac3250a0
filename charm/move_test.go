package charm

import (
	"errors"
	"maps"
	"testing"

	"github-runner/charm/juju"
)

// onOpenStack chooses OpenStack in a configuration.
func onOpenStack() map[string]any {
	return map[string]any{
		"openstack-clouds-yaml": "clouds: {main: {auth: {auth_url: 'https://keystone.example.com', username: u, password: p, project_name: p}}}",
		"openstack-flavor":      "m1.small",
		"openstack-network":     "runners",
	}
}

// A job on the cloud that is left runs to its end, and nothing stays there.
func TestRunnersMoveToAnotherCloud(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	busy := s.cloud.Truth()[0].Name
	if err := s.cloud.TakeJob(busy); err != nil {
		t.Fatal(err)
	}
	maps.Copy(s.config, onOpenStack())
	s.hook("config-changed")
	s.expectMachines(1)
	s.expectStatus(juju.Active, "the runners move to OpenStack once those on LXD have ended")
	s.hook("update-status")
	s.expectMachines(1)
	if n := len(s.openstack.Truth()); n > 0 {
		t.Errorf("%d runners on OpenStack while one is on LXD", n)
	}
	if err := errors.Join(s.cloud.Complete(busy), s.cloud.Stop(busy)); err != nil {
		t.Fatal(err)
	}
	s.hook("update-status")
	s.expectMachines(0)
	s.expectStatus(juju.Active, "2 runners: 2 idle")
	if n := len(s.openstack.Truth()); n != 2 {
		t.Errorf("%d runners on OpenStack, want 2", n)
	}
	if s.cloud.Prepared() {
		t.Error("what the runners used on LXD is there still")
	}

	// And back again, at once where none is busy.
	for option := range onOpenStack() {
		delete(s.config, option)
	}
	s.hook("config-changed")
	s.expectMachines(2)
	if n := len(s.openstack.Truth()); n != 0 || s.openstack.Prepared() {
		t.Errorf("%d runners on OpenStack, and what they used", n)
	}
}

// A unit that can't have the cloud that it was sent to comes back from it.
func TestAMoveToACloudThatCannotBeHad(t *testing.T) {
	s := newStage(t)
	maps.Copy(s.config, onOpenStack())
	s.hook("config-changed")
	s.expectStatus(juju.Active, "2 runners: 2 idle")
	s.installed = false
	for option := range onOpenStack() {
		delete(s.config, option)
	}
	s.hook("config-changed")
	s.expectStatus(juju.Blocked, "install LXD by hand")
	maps.Copy(s.config, onOpenStack())
	s.hook("config-changed")
	s.expectStatus(juju.Active, "2 runners: 2 idle")
	if n := len(s.openstack.Truth()); n != 2 {
		t.Errorf("%d runners on OpenStack, want 2", n)
	}
}

// Who changes their mind while jobs run loses nothing.
func TestAMoveThatIsTakenBack(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	busy := s.cloud.Truth()[0].Name
	if err := s.cloud.TakeJob(busy); err != nil {
		t.Fatal(err)
	}
	maps.Copy(s.config, onOpenStack())
	s.hook("config-changed")
	for option := range onOpenStack() {
		delete(s.config, option)
	}
	s.hook("config-changed")
	s.expectMachines(2)
	s.expectStatus(juju.Active, "2 runners: 1 idle, 1 busy")
}

// The unit goes while its runners move: those on either cloud go with it.
func TestRemovalInTheMiddleOfAMove(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	if err := s.cloud.TakeJob(s.cloud.Truth()[0].Name); err != nil {
		t.Fatal(err)
	}
	maps.Copy(s.config, onOpenStack())
	s.hook("config-changed")
	s.hook("stop")
	s.expectMachines(0)
	if s.cloud.Prepared() || s.openstack.Prepared() {
		t.Error("what runners used is there still")
	}
}
