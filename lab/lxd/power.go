package lxd

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/clock"
)

func (s *Server) getInstanceState(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	return answer{metadata: i.shownState(s)}, nil
}

func (s *Server) putInstanceState(r *http.Request) (answer, error) {
	var put api.InstanceStatePut
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	actions := map[string]struct {
		description string
		do          func(context.Context, *instance, bool) error
	}{
		"start":   {"Starting instance", func(ctx context.Context, i *instance, _ bool) error { return s.start(ctx, i) }},
		"stop":    {"Stopping instance", s.stop},
		"restart": {"Restarting instance", s.restartInstance},
	}
	action, ok := actions[put.Action]
	if !ok {
		return answer{}, refuse(http.StatusBadRequest, "Unknown action: '%s'", put.Action)
	}
	paths := map[string][]string{"instances": {"/1.0/instances/" + i.Name}}
	return answer{operation: s.operations.begin(action.description, paths, func(ctx context.Context) (map[string]any, error) {
		return nil, action.do(ctx, i, put.Force)
	})}, nil
}

// start is the operation that starts an instance.
func (s *Server) start(ctx context.Context, i *instance) error {
	s.mu.Lock()
	running := i.running
	s.mu.Unlock()
	if running {
		return says("The instance is already running")
	}
	if err := s.occupy(i, "start"); err != nil {
		return err
	}
	defer s.release(i)
	if s.faults.Take(StartHangs, i.Name) != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := clock.Pause(ctx, s.options.Timing.Start); err != nil {
		return err
	}
	if f := s.faults.Take(StartFails, i.Name); f != nil {
		return says("%s", f.Says("Failed to run: lxd forkstart "+i.Name+": exit status 1"))
	}
	if pool := s.lostPool(i); pool != "" {
		return says("Storage pool %q unavailable on this server", pool)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := i.expandedDevices(s)
	if err := checkSources(all, "start"); err != nil {
		return err
	}
	if err := checkShift(all); err != nil && !i.virtual() {
		return err
	}
	i.LastUsed = time.Now().UTC()
	s.powerOn(i)
	s.events.lifecycle("instance-started", "instances/"+i.Name, nil, true)
	return nil
}

// powerOn lets a guest boot; s.mu is held.
func (s *Server) powerOn(i *instance) {
	i.running = true
	i.Config[keyPower] = "RUNNING"
	if i.virtual() {
		i.Config["volatile.vsock_id"] = strconv.Itoa(3 + len(s.instances))
	}
	delete(i.Config, "volatile.apply_template")
	i.guest = s.boot(i)
	s.changed(i)
}

// powerOff ends the guest; s.mu is held.
func (s *Server) powerOff(i *instance) {
	if i.guest != nil {
		i.guest.pull()
		i.guest = nil
	}
	i.running = false
	i.Config[keyPower] = "STOPPED"
	s.changed(i)
}

// stop is the operation that stops an instance.
func (s *Server) stop(ctx context.Context, i *instance, force bool) error {
	s.mu.Lock()
	running, guest := i.running, i.guest
	s.mu.Unlock()
	if !running {
		return says("The instance is already stopped")
	}
	if err := s.occupy(i, "stop"); err != nil {
		return err
	}
	defer s.release(i)
	if s.faults.Take(StopHangs, i.Name) != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if !force {
		if err := guest.heedsButton(ctx); err != nil {
			return err
		}
		if err := clock.Pause(ctx, s.options.Timing.PowerOff); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !i.running {
		return nil // the guest was faster
	}
	s.powerOff(i)
	event := "instance-shutdown"
	if force {
		event = "instance-stopped"
	}
	s.events.lifecycle(event, "instances/"+i.Name, nil, true)
	s.removeEphemeral(i)
	return nil
}

// removeEphemeral deletes what lasts only as long as it runs; s.mu is held.
func (s *Server) removeEphemeral(i *instance) {
	if i.Ephemeral {
		s.drop(i)
	}
}

func (s *Server) restartInstance(_ context.Context, i *instance, _ bool) error {
	if err := s.occupy(i, "restart"); err != nil {
		return err
	}
	defer s.release(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !i.running {
		return says("The instance is not running")
	}
	s.powerOff(i)
	s.powerOn(i)
	s.events.lifecycle("instance-restarted", "instances/"+i.Name, nil, true)
	return nil
}

// shutDown is a guest that powers off by itself; it does nothing when the guest
// is no longer the instance's.
func (s *Server) shutDown(i *instance, g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.guest != g {
		return
	}
	s.powerOff(i)
	s.events.lifecycle("instance-shutdown", "instances/"+i.Name, nil, false)
	s.removeEphemeral(i)
}

// reboot is a guest that reboots by itself.
func (s *Server) reboot(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(name)
	if err != nil {
		return err
	}
	if !i.running {
		return refuse(http.StatusBadRequest, "Instance is not running")
	}
	s.powerOff(i)
	s.events.lifecycle("instance-shutdown", "instances/"+i.Name, nil, false)
	s.powerOn(i)
	s.events.lifecycle("instance-restarted", "instances/"+i.Name, nil, false)
	return nil
}
