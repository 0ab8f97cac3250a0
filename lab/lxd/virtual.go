package lxd

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/clock"
)

// The types of instances.
const (
	container      = "container"
	virtualMachine = "virtual-machine"
)

// mountPatience is how long the start script of a runner waits for the exchange
// folder.
const mountPatience = 5 * time.Minute

// errNoAgent is LXD's answer to all that needs lxd-agent while it is not up.
var errNoAgent = refuse(http.StatusInternalServerError, "LXD VM agent isn't currently running")

// noVirtualMachines is why LXD knows containers only: its own words where the
// kernel lacks what is needed.
func (s *Server) noVirtualMachines() error {
	if s.faults.Take(NoKVM, "") == nil {
		return nil
	}
	return says("Instance type %q is not supported on this server: vhost_vsock kernel module not loaded", virtualMachine)
}

// drivers are what runs instances, and their versions.
func (s *Server) drivers() (names, versions string) {
	if s.noVirtualMachines() != nil {
		return "lxc", "5.0.2"
	}
	return "lxc | qemu", "5.0.2 | 7.2.0"
}

func (i *instance) virtual() bool { return i.Type == virtualMachine }

// reachable says why LXD can't get at files and processes of an instance: those
// of a virtual machine are there only while its agent is; s.mu is held.
func (i *instance) reachable() error {
	switch {
	case !i.virtual():
		return nil
	case !i.running:
		return refuse(http.StatusInternalServerError, "Instance is not running")
	case !i.guest.agent:
		return errNoAgent
	}
	return nil
}

// status is the instance's state in LXD's words; s.mu is held.
func (s *Server) status(i *instance) api.StatusCode {
	if !i.running {
		return api.Stopped
	}
	if f := s.faults.Take(OddStatus, i.Name); f != nil {
		return oddStatuses[f.Says("Error")]
	}
	return api.Running
}

// oddStatuses are the states that an instance that runs may show besides, by
// name.
var oddStatuses = map[string]api.StatusCode{
	"Error": api.Error, "Ready": api.Ready, "Frozen": api.Frozen,
}

// startAgent brings up the agent of a virtual machine. At its first start it
// hands the user-data to cloud-init and reboots the machine, as it does with
// Ubuntu's images; LXD shows the machine as stopped meanwhile.
func (g *guest) startAgent() {
	faults, wait := g.server.faults, g.server.options.Timing.Agent
	if faults.Take(NoAgent, g.name) != nil {
		return
	}
	if f := faults.Take(LateAgent, g.name); f != nil {
		wait = f.Lasts(time.Minute)
	}
	if clock.Pause(g.ctx, wait) != nil {
		return
	}
	s, i := g.server, g.instance
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case i.guest != g:
	case i.Seeded:
		g.agent = true
		close(g.agentUp)
	default:
		i.Seeded = true
		i.busy = "restart"
		s.powerOff(i)
		s.events.lifecycle("instance-shutdown", "instances/"+i.Name, nil, false)
		go s.comeBack(i)
	}
}

// comeBack starts a machine again that reboots.
func (s *Server) comeBack(i *instance) {
	ended := clock.Pause(s.life, s.options.Timing.Reboot) != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	i.busy = ""
	if ended || s.instances[i.Name] != i {
		return
	}
	s.powerOn(i)
	s.events.lifecycle("instance-restarted", "instances/"+i.Name, nil, false)
}

// awaitAgent waits until the agent is up: without it cloud-init has no user-data.
func (g *guest) awaitAgent() error {
	if !g.instance.virtual() {
		return nil
	}
	select {
	case <-g.agentUp:
		return nil
	case <-g.ctx.Done():
		return g.ctx.Err()
	}
}

// hasExchange reports whether the exchange folder is mounted. Without it nothing
// that the guest says is heard.
func (g *guest) hasExchange() bool {
	f := g.server.faults.Take(MountFails, g.name)
	if f == nil || !g.instance.virtual() {
		return true
	}
	g.exchange = ""
	_ = clock.Pause(g.ctx, f.Lasts(mountPatience)) // what follows looks at ctx
	return false
}

// heedsButton waits until the guest would notice that its power button was
// pressed, as one that still boots does not.
func (g *guest) heedsButton(ctx context.Context) error {
	if g == nil || !g.instance.virtual() {
		return nil
	}
	select {
	case <-g.booted:
		return nil
	case <-g.ctx.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) getConsole(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	if i.virtual() {
		return answer{}, refuse(http.StatusInternalServerError, "Instance is not container type")
	}
	return answer{}, refuse(http.StatusNotFound, "not found")
}

// containerKeys and virtualKeys are the keys that only one type of instances
// takes. A profile takes both, and an instance ignores what is not for it there.
var (
	containerKeys = []string{
		"limits.cpu.allowance", "limits.cpu.priority",
		"limits.hugepages.64KB", "limits.hugepages.1MB", "limits.hugepages.2MB", "limits.hugepages.1GB",
		"limits.memory.enforce", "limits.memory.swap", "limits.memory.swap.priority", "limits.processes",
		"linux.kernel_modules", "migration.incremental.memory", "nvidia.runtime", "raw.lxc", "raw.seccomp",
		"security.idmap.base", "security.idmap.isolated", "security.idmap.size",
		"security.nesting", "security.privileged", "security.protection.shift",
	}
	containerPrefixes = []string{"security.syscalls.", "limits.kernel.", "linux.sysctl."}
	virtualKeys       = []string{
		"limits.memory.hugepages", "migration.stateful", "raw.qemu", "raw.qemu.conf",
		"security.agent.metrics", "security.secureboot",
	}
)

// isFor reports whether a key is for instances of a type; a profile's, "", is
// for all.
func isFor(key, kind string) bool {
	switch kind {
	case container:
		return !slices.Contains(virtualKeys, key)
	case virtualMachine:
		return !slices.Contains(containerKeys, key) && !hasPrefix(key, containerPrefixes)
	}
	return true
}

// volumeOf says what kind of volume an instance's root disk is.
func (i *instance) volumeOf() (kind, content string) {
	if i.virtual() {
		return virtualMachine, "block"
	}
	return container, "filesystem"
}

// resources are the paths of what an operation on an instance is about.
func (i *instance) resources() map[string][]string {
	paths := map[string][]string{"instances": {"/1.0/instances/" + i.Name}}
	if !i.virtual() {
		paths["containers"] = []string{"/1.0/containers/" + i.Name}
	}
	return paths
}

// virtualState changes what the API shows of a virtual machine's state: before
// its agent is up, LXD knows what the host sees; s.mu is held.
func (i *instance) virtualState(state *api.InstanceState) {
	switch {
	case !i.running:
		state.Disk = nil
	case !i.guest.agent:
		state.Processes = -1
		state.Memory.Usage = 0
		delete(state.Network, "lo")
	}
}

// vmPrefix begins the names of the images of virtual machines, which no alias
// leads to at first: an alias leads to one image.
const vmPrefix = "vm/"

// imageKind tells the two kinds of first images apart.
func imageKind(name string) (release, kind string) {
	if alias, ok := strings.CutPrefix(name, vmPrefix); ok {
		return imageReleases[alias], virtualMachine
	}
	return imageReleases[name], container
}
