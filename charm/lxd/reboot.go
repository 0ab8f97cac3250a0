package lxd

import (
	"maps"
	"sync"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// rebootTime is how long a virtual machine may be off before it is taken for
// ended: at its first boot lxd-agent hands it its user-data and reboots it, and
// LXD calls it stopped until its QEMU runs again.
const rebootTime = 30 * time.Second

// powerLog remembers since when instances were seen off. Nothing in LXD says it.
type powerLog struct {
	mu  sync.Mutex
	off map[string]time.Time
}

// seenOff notes that an instance is off, and returns since when.
func (p *powerLog) seenOff(name string, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off == nil {
		p.off = map[string]time.Time{}
	}
	since, known := p.off[name]
	if !known {
		since = now
		p.off[name] = since
	}
	return since
}

// keepOnly forgets all that are not off any more.
func (p *powerLog) keepOnly(off map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.off, func(name string, _ time.Time) bool { return !off[name] })
}

// stopped returns the names of the instances that are off.
func stopped(instances []api.Instance) map[string]bool {
	off := map[string]bool{}
	for _, instance := range instances {
		if instance.StatusCode == api.Stopped {
			off[instance.Name] = true
		}
	}
	return off
}

// mayComeBack reports whether an instance that is off may be one that reboots on
// its way to its runner. One whose runner has left anything never comes back, nor
// does one that should have been online by now, as after the host's own restart.
func (c *Cloud) mayComeBack(instance api.Instance, status runner.Status, left files, now time.Time) bool {
	young := now.Sub(describe(instance).Created) < virtualBoot
	if instance.Type != VirtualMachine || status != runner.StatusStopped || !young {
		return false
	}
	for _, there := range left {
		if there {
			return false
		}
	}
	return now.Sub(c.power.seenOff(instance.Name, now)) < rebootTime
}
