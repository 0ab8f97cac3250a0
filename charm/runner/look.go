package runner

import (
	"context"
	"fmt"
	"time"
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
	world.Now = time.Now()
	return world, nil
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
		alive := instance.Status == StatusCreating || instance.Status == StatusRunning
		registrations, listed := world.Registrations[instance.Scope]
		_, shown := find(registrations, instance)
		_, knownGone := m.recall(signGone, instance.Name)
		if world.inFlight(instance.Name) || !alive || instance.Foreign || !listed || shown || knownGone || instance.RunnerID == 0 {
			continue
		}
		registration, err := m.cfg.GitHub.Runner(ctx, instance.Scope, instance.RunnerID)
		switch {
		case err == nil:
			world.Registrations[instance.Scope] = append(registrations, registration)
		case !isNotFound(err):
			world.Unconfirmed[instance.Name] = err
		}
	}
}
