package project

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// goneInterval is how often is looked whether deleted servers are gone.
const goneInterval = 500 * time.Millisecond

// Empty deletes all that there is in the project, but its default security group, and
// returns what it deleted. It goes on after a failure.
func (p *Project) Empty(ctx context.Context) (deleted []string, err error) {
	id, err := p.ID()
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, kind := range p.kinds(id) {
		names, err := kind.empty(ctx)
		deleted = append(deleted, names...)
		if err == nil && kind.name == serverKind {
			// They hold on to ports and groups until they are gone.
			err = p.awaitNoServers(ctx)
		}
		problems = append(problems, err)
	}
	return deleted, errors.Join(problems...)
}

// empty deletes all of a kind, as far as it goes.
func (k kind) empty(ctx context.Context) (deleted []string, err error) {
	all, err := k.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list the project's %s: %w", k.name, err)
	}
	var problems []error
	for _, one := range all {
		if one.stays {
			continue
		}
		if err := gone(one.remove(ctx)); err != nil {
			problems = append(problems, fmt.Errorf("cannot delete %s of the project's %s: %w", one.name, k.name, err))
			continue
		}
		deleted = append(deleted, one.name+" of the project's "+k.name)
	}
	return deleted, errors.Join(problems...)
}

// awaitNoServers waits until the project has no server.
func (p *Project) awaitNoServers(ctx context.Context) error {
	tick := time.NewTicker(goneInterval)
	defer tick.Stop()
	for {
		left, err := p.Servers(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for the end of %d servers, of which %s is %s: %w", len(left), left[0].Name, left[0].Status, ctx.Err())
		}
	}
}
