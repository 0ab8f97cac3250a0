package lxd

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
)

// keyPower is where LXD remembers whether an instance last ran.
const keyPower = "volatile.last_state.power"

// instance is one container or virtual machine. All but its fields with a small letter is stored.
type instance struct {
	Name        string
	Type        string
	Description string
	Ephemeral   bool
	Stateful    bool
	Created     time.Time
	LastUsed    time.Time
	Config      map[string]string
	Devices     devices
	Profiles    []string
	// Files is what was written to the root disk, by path.
	Files map[string]string
	// Seeded is set once cloud-init of a virtual machine has its user-data.
	Seeded bool

	running bool
	// busy is the operation that is under way: "create", "start", "stop", …
	busy  string
	guest *guest
	// rendered is the instance as JSON, as of that number of profile edits.
	rendered []byte
	edits    int
	shown    api.StatusCode
}

// started reports whether the machine has served already.
func (i *instance) started() bool {
	_, ok := i.Files[cloudinit.StartedPath]
	return ok
}

// changed forgets what was derived from the instance and stores it; s.mu is
// held.
func (s *Server) changed(i *instance) {
	i.rendered = nil
	if s.instances[i.Name] == i {
		s.keep(storedInstances, i.Name, i)
	}
}

func (i *instance) expandedConfig(s *Server) map[string]string {
	merged := make(map[string]string)
	for _, name := range i.Profiles {
		if p := s.profiles[name]; p != nil {
			maps.Copy(merged, p.Config)
		}
	}
	maps.Copy(merged, i.Config)
	return merged
}

func (i *instance) expandedDevices(s *Server) devices {
	merged := make(devices)
	for _, name := range i.Profiles {
		if p := s.profiles[name]; p != nil {
			maps.Copy(merged, p.Devices)
		}
	}
	maps.Copy(merged, i.Devices)
	return merged
}

// show is the instance as the API shows it; s.mu is held.
func (i *instance) show(s *Server) api.Instance {
	status := s.status(i)
	return api.Instance{
		Name: i.Name, Description: i.Description, Type: i.Type, Project: "default", Location: "none",
		Status: status.String(), StatusCode: status,
		CreatedAt: i.Created, LastUsedAt: i.LastUsed,
		Architecture: architecture(), Ephemeral: i.Ephemeral, Stateful: i.Stateful,
		Profiles: slices.Clone(i.Profiles),
		Config:   maps.Clone(i.Config), Devices: i.Devices,
		ExpandedConfig: i.expandedConfig(s), ExpandedDevices: i.expandedDevices(s),
	}
}

// json is the instance in a recursive list; s.mu is held.
func (i *instance) json(s *Server) ([]byte, error) {
	if status := s.status(i); i.rendered == nil || i.edits != s.edits || i.shown != status {
		encoded, err := json.Marshal(i.show(s))
		if err != nil {
			return nil, err
		}
		i.rendered, i.edits, i.shown = encoded, s.edits, status
	}
	return i.rendered, nil
}

// etag is what a change of the instance may be made conditional on: a copy, for it
// is encoded later, while the guest goes on.
func (i *instance) etag() any {
	return []any{architecture(), maps.Clone(i.Config), i.Devices, i.Ephemeral, i.Profiles}
}

// state is what runs in the instance, as the API shows it.
func (i *instance) state(s *Server) (state api.InstanceState) {
	status := s.status(i)
	state = api.InstanceState{
		Status: status.String(), StatusCode: status,
		Disk: map[string]api.InstanceStateDisk{},
	}
	if i.virtual() {
		defer i.virtualState(&state)
	}
	if !i.running {
		return state
	}
	state.Pid = 1000
	state.Processes = 20
	state.Memory.Usage = 64 << 20
	state.Network = map[string]api.InstanceStateNetwork{
		"eth0": {
			Addresses: []api.InstanceStateNetworkAddress{}, Hwaddr: i.Config["volatile.eth0.hwaddr"],
			Mtu: 1500, State: "up", Type: "broadcast",
		},
		"lo": {
			Addresses: []api.InstanceStateNetworkAddress{{Family: "inet", Address: "127.0.0.1", Netmask: "8", Scope: "local"}},
			Mtu:       65536, State: "up", Type: "loopback",
		},
	}
	return state
}

// shownState is the state as servers of 5.0 show it.
func (i *instance) shownState(s *Server) any {
	state := i.state(s)
	shown, err := without(state, "memory.total")
	if err != nil {
		return state
	}
	return shown
}

// fullInstance is an instance with its state: recursion=2.
type fullInstance struct {
	api.Instance
	Backups   []api.InstanceBackup   `json:"backups"`
	State     any                    `json:"state"`
	Snapshots []api.InstanceSnapshot `json:"snapshots"`
}

func (i *instance) full(s *Server) fullInstance {
	return fullInstance{Instance: i.show(s), State: i.shownState(s)}
}
