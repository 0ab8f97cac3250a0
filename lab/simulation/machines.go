package simulation

import (
	"slices"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
	"github-runner/lab/openstack"
)

// machine is one that may be a runner's, wherever it is.
type machine struct {
	name string
	// ours is set where it is marked as the unit's.
	ours bool
	// on is set while it runs, or is made by a cloud that switches it on by itself,
	// making while it is not on yet.
	on, making bool
	// reboots is set where one that is off may be on its way up.
	reboots bool
}

// machines are all in LXD and in OpenStack.
func (w *world) machines() []machine {
	var all []machine
	for _, instance := range w.daemon().Possessions().Instances {
		off := instance.StatusCode == api.Stopped
		all = append(all, machine{
			name: instance.Name, ours: owner.Owns(instance.Name) && instance.Config[metadataUnit] == unitName,
			on: !off, making: off,
			// A virtual machine that is off in its first minutes may be one that
			// reboots on its way to its runner.
			reboots: instance.Type == "virtual-machine" && time.Since(instance.CreatedAt) < 10*time.Minute,
		})
	}
	if w.openStack == nil {
		return all
	}
	for _, server := range w.openStack.Possessions().Servers {
		building := server.Status == "BUILD"
		all = append(all, machine{
			name: server.Name, ours: isOurs(server),
			on: (building || server.Status == "ACTIVE") && !server.Deleting, making: building,
		})
	}
	return all
}

// isOurs reports whether a server is marked as the unit's.
func isOurs(server openstack.Possession) bool {
	return owner.Kinship(server.Name, func(key string) string { return server.Metadata[key] }) == runner.KinOurs
}

// isOn reports whether the machine of a name is on.
func (w *world) isOn(name string) bool {
	return slices.ContainsFunc(w.machines(), func(one machine) bool { return one.name == name && one.on })
}
