package juju

import (
	"context"
	"fmt"
)

func cmdRemoveUnit(i *invocation) func(context.Context) error {
	force := i.removalFlags()
	return func(ctx context.Context) error {
		if err := i.count(1, -1, "unit names"); err != nil {
			return err
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			for _, name := range i.args {
				if _, _, err := m.unit(name); err != nil {
					return err
				}
			}
			for _, name := range i.args {
				a, u, _ := m.unit(name)
				fmt.Fprintf(i.stderr, "will remove unit %s\n", u.Name)
				i.server.retire(m, a, u, *force)
				units = append(units, u)
				units = append(units, m.unitsAt(m.relationsOf(a.Name)...)...)
			}
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

func (i *invocation) removalFlags() (force *bool) {
	i.flags.Bool("no-prompt", false, "")
	i.flags.Bool("destroy-storage", false, "")
	return i.flags.Bool("force", false, "")
}

func cmdRemoveApplication(i *invocation) func(context.Context) error {
	force := i.removalFlags()
	return func(ctx context.Context) error {
		if err := i.count(1, -1, "application names"); err != nil {
			return err
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			for _, name := range i.args {
				if _, err := m.application(name); err != nil {
					return err
				}
			}
			for _, name := range i.args {
				units = append(units, i.removeApplication(m, m.Applications[name], *force)...)
			}
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

func (i *invocation) removeApplication(m *model, a *application, force bool) []*unit {
	fmt.Fprintf(i.stderr, "will remove application %s\n", a.Name)
	relations := m.relationsOf(a.Name)
	waitFor := append(a.sortedUnits(), m.unitsAt(relations...)...)
	a.Dying = true
	for _, r := range relations {
		if !r.isPeer() {
			i.server.breakRelation(m, r)
		}
	}
	for _, u := range a.sortedUnits() {
		fmt.Fprintf(i.stderr, "- will remove unit %s\n", u.Name)
		i.server.retire(m, a, u, force)
	}
	if len(a.Units) == 0 {
		delete(m.Applications, a.Name)
		m.reap()
	}
	return waitFor
}

func cmdResolved(i *invocation) func(context.Context) error {
	noRetry := i.flags.Bool("no-retry", false, "")
	return func(ctx context.Context) error {
		if err := i.count(1, -1, "unit names"); err != nil {
			return err
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			for _, name := range i.args {
				_, u, err := m.unit(name)
				if err != nil {
					return err
				}
				if u.Failed == "" {
					return fmt.Errorf("unit %q is not in an error state", u.Name)
				}
				if *noRetry {
					i.server.agents[u].complete(i.server, u.Pending[0])
				}
				i.server.retry(u)
				units = append(units, u)
			}
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}
