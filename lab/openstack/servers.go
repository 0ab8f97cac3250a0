package openstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"github-runner/lab/clock"
	"github-runner/lab/guests"
)

// The states of a server, in Nova's words.
const (
	vmBuilding = "building"
	vmActive   = "active"
	vmStopped  = "stopped"
	vmError    = "error"
)

// statuses are what users see of a state.
var statuses = map[string]string{
	vmBuilding: "BUILD", vmActive: "ACTIVE", vmStopped: "SHUTOFF", vmError: "ERROR",
}

// powers are the power states that belong to a state; those that are missing have none.
var powers = map[string]int{vmActive: 1, vmStopped: 4}

// server is one server.
type server struct {
	id, name string
	hostname string
	project  string
	user     string
	created  time.Time
	updated  time.Time
	launched time.Time
	flavor   *Flavor
	// image is the image's ID, which may be gone.
	image       string
	userData    string
	configDrive bool
	zone        string
	// metadata is never changed in place.
	metadata map[string]string
	tags     []string
	networks []*network
	ports    []*port
	// groups are the wanted security groups; a port has its own list.
	groups []*group
	host   string

	vmState   string
	taskState string
	fault     *serverFault
	// disk is what the guest wrote to its disk, by path; console what it printed.
	disk    *guests.Memory
	console []string
	// guest is what runs in the server; nil: it has no power.
	guest *guest
	// life ends when the server is deleted.
	life context.Context
	end  context.CancelFunc
}

type serverFault struct {
	code    int
	message string
	created time.Time
}

// addServer adds a server that is not built yet; s.mu is held.
func (s *Server) addServer(o order, p *project, u *user) *server {
	now := time.Now()
	v := &server{
		id: newUUID(), name: o.name, hostname: o.hostname, project: p.id, user: u.id, created: now, updated: now,
		flavor: o.flavor, image: o.image.id, userData: o.userData, configDrive: o.configDrive,
		metadata: o.metadata, tags: o.tags, networks: o.networks, groups: o.groups,
		vmState: vmBuilding, taskState: "scheduling",
		disk: guests.NewMemory(o.image.files),
	}
	v.life, v.end = context.WithCancel(s.life)
	s.servers = append(s.servers, v)
	return v
}

// finish is the end of a successful build; s.mu is held.
func (s *Server) finish(v *server) {
	v.place()
	v.launched = time.Now()
	s.powerOn(v)
}

// place gives a server its place in the cloud.
func (v *server) place() {
	sum := sha256.Sum224([]byte(v.project + "compute-1"))
	v.host, v.zone = hex.EncodeToString(sum[:]), "nova"
}

// fail ends a server as ERROR.
func (v *server) fail(message string) {
	v.powerOff()
	now := time.Now()
	v.vmState, v.taskState, v.updated = vmError, "", now
	v.fault = &serverFault{code: http.StatusInternalServerError, message: message, created: now}
}

// become changes the state of a server.
func (v *server) become(vmState, taskState string) {
	v.vmState, v.taskState, v.updated = vmState, taskState, time.Now()
}

// findServer finds a project's server by the ID in a call's path; s.mu is held.
func (s *Server) findServer(c call) (*server, error) {
	id := c.PathValue("id")
	for _, v := range s.servers {
		if v.id == id && v.project == c.project().id && !s.vanished(v) {
			return v, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "Instance %s could not be found.", id)
}

// vanished removes a server where a fault has it vanish; s.mu is held.
func (s *Server) vanished(v *server) bool {
	if s.faults.Take(Vanishes, v.name) == nil {
		return false
	}
	s.drop(v, false)
	return true
}

// drop removes a server; s.mu is held.
func (s *Server) drop(v *server, keepPorts bool) {
	v.end()
	v.powerOff()
	s.servers = slices.DeleteFunc(s.servers, func(one *server) bool { return one == v })
	s.unplug(v, keepPorts)
}

// build makes a server that was ordered.
func (s *Server) build(v *server) {
	stage := s.options.Timing.Build / 3
	if clock.Pause(v.life, stage) != nil {
		return
	}
	if f := s.faults.Take(BuildHangs, v.name); f != nil && hang(v.life, f.For) != nil {
		return
	}
	if f := s.faults.Take(NoValidHost, v.name); f != nil {
		s.with(v, func() { v.fail(f.Says("No valid host was found. ")) })
		return
	}
	s.with(v, func() {
		v.place()
		v.become(vmBuilding, "networking")
	})
	if clock.Pause(v.life, stage) != nil {
		return
	}
	s.with(v, func() {
		if s.plug(v) {
			v.become(vmBuilding, "spawning")
			return
		}
		v.fail("Build of instance " + v.id + " aborted: Failed to allocate the network(s), not rescheduling.")
	})
	if clock.Pause(v.life, s.options.Timing.Build-2*stage) != nil {
		return
	}
	s.with(v, func() {
		if v.vmState == vmBuilding {
			s.finish(v)
		}
	})
}

// with does something to a server that is still there.
func (s *Server) with(v *server, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.life.Err() == nil {
		do()
	}
}

// hang waits for a time, or for ever where that is 0; it returns ctx's error.
func hang(ctx context.Context, d time.Duration) error {
	if d > 0 {
		return clock.Pause(ctx, d)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *Server) deleteServer(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findServer(c)
	if err != nil {
		return answer{}, err
	}
	if v.taskState != "deleting" {
		v.become(v.vmState, "deleting")
		v.end() // whatever goes on with it
		go s.remove(v)
	}
	return answer{status: http.StatusNoContent}, nil
}

// remove deletes a server for good.
func (s *Server) remove(v *server) {
	if f := s.faults.Take(DeleteHangs, v.name); f != nil && hang(s.life, f.For) != nil {
		return
	}
	if clock.Pause(s.life, s.options.Timing.Delete) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.faults.Take(DeleteFails, v.name); f != nil {
		v.life, v.end = context.WithCancel(s.life)
		v.fail(f.Says("Failed to terminate process 4711 with SIGKILL: Device or resource busy"))
		return
	}
	s.drop(v, s.faults.Take(PortLeft, v.name) != nil)
}
