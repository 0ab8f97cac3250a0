package runner

import (
	"context"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
)

// look asks the cloud, then GitHub: a registration is made before its instance,
// so an instance that was seen first and is not registered then never will be.
//
// What is in flight is not asked about.
func (m *Manager) look(ctx context.Context, wanted Scope, inFlight map[string]Info) (World, error) {
	world := World{
		InFlight:      inFlight,
		Now:           time.Now(),
		Registrations: map[Scope][]Registration{},
		Away:          map[Scope]error{},
		Unconfirmed:   map[string]error{},
	}
	instances, err := m.cfg.Cloud.List(ctx)
	if err != nil {
		return world, fmt.Errorf("cannot list the instances: %w", err)
	}
	world.Instances = instances
	for _, scope := range m.scopes(wanted, instances) {
		registrations, err := m.cfg.GitHub.Runners(ctx, scope, m.cfg.Owner.Prefix())
		if err != nil {
			world.Away[scope] = err
			continue
		}
		world.Registrations[scope] = registrations
	}
	m.confirm(ctx, &world)
	world.Took = time.Since(world.Now)
	m.inspect(ctx, world)
	world.Now = time.Now()
	return world, nil
}

// inspect looks into the instances that GitHub has let go, or that take their time to
// come online. Where that is in vain it is not tried again for a while: all else waits
// meanwhile.
func (m *Manager) inspect(ctx context.Context, world World) {
	var asked []*Instance
	there := map[string]bool{}
	for i, instance := range world.Instances {
		there[instance.Name] = true
		if last, before := m.inspected[instance.Name]; before && world.Now.Sub(last) < m.cfg.Limits.Doubt {
			continue
		}
		if world.letGo(instance) || m.doubts(world, instance) {
			asked = append(asked, &world.Instances[i])
		}
	}
	maps.DeleteFunc(m.inspected, func(name string, _ time.Time) bool { return !there[name] })
	m.lookInto(ctx, asked)
	for _, instance := range asked {
		if !world.letGo(*instance) || instance.Working == WorkingUnknown {
			m.inspected[instance.Name] = time.Now()
		}
	}
}

// lookInto asks a cloud whose list does not tell what works in instances. Of those that
// it can't be found out for, nothing is known.
func (m *Manager) lookInto(ctx context.Context, instances []*Instance) {
	inspector, ok := m.cfg.Cloud.(Inspector)
	if !ok {
		return
	}
	var all errgroup.Group
	all.SetLimit(m.cfg.Limits.Deletes)
	for _, instance := range instances {
		if instance.Working != WorkingUnknown {
			continue
		}
		all.Go(func() error {
			found, err := inspector.Inspect(ctx, *instance)
			if err != nil {
				m.cfg.Log.WithError(err).WithField("runner", instance.Name).Debug("cannot see what works in a runner")
				return nil
			}
			*instance = found
			return nil
		})
	}
	_ = all.Wait()
}

// doubts reports whether a runner that GitHub lists as offline should be looked into:
// it may have ended without a word.
func (m *Manager) doubts(world World, instance Instance) bool {
	registration, shown := find(world.Registrations[instance.Scope], instance)
	if instance.Status != StatusRunning || instance.Foreign || world.inFlight(instance.Name) || !shown || registration.Online || registration.Busy {
		return false
	}
	return world.Now.Sub(instance.Created) >= m.cfg.Limits.Doubt
}

// letGo reports whether GitHub has said that a running instance of ours is not
// registered any more.
func (w World) letGo(instance Instance) bool {
	alive := instance.Status == StatusCreating || instance.Status == StatusRunning
	registrations, listed := w.Registrations[instance.Scope]
	_, shown := find(registrations, instance)
	_, unconfirmed := w.Unconfirmed[instance.Name]
	return alive && listed && !shown && !unconfirmed && !instance.Foreign && !w.inFlight(instance.Name)
}

// scopes lists where registrations of ours may be.
func (m *Manager) scopes(wanted Scope, instances []Instance) []Scope {
	var scopes []Scope
	known := map[Scope]bool{{}: true}
	add := func(scope Scope) {
		if !known[scope] {
			known[scope] = true
			scopes = append(scopes, scope)
		}
	}
	add(wanted)
	m.note(func() {
		for _, scope := range m.memory.Former {
			add(scope)
		}
	})
	for _, instance := range instances {
		if !instance.Foreign {
			add(instance.Scope)
		}
	}
	return scopes
}

// confirm asks for each running instance that the lists do not show: only a 404
// proves that its registration is gone.
func (m *Manager) confirm(ctx context.Context, world *World) {
	for _, instance := range world.Instances {
		_, knownGone := m.recall(signGone, instance.Name)
		if !world.letGo(instance) || knownGone || instance.RunnerID == 0 {
			continue
		}
		registration, err := m.cfg.GitHub.Runner(ctx, instance.Scope, instance.RunnerID)
		switch {
		case err == nil:
			world.Registrations[instance.Scope] = append(world.Registrations[instance.Scope], registration)
		case !isNotFound(err):
			world.Unconfirmed[instance.Name] = err
		}
	}
}
