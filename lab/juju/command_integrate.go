package juju

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func cmdIntegrate(i *invocation) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := i.count(2, 2, "two applications, each with an endpoint if need be"); err != nil {
			return err
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			ends, err := m.infer(i.args)
			if err != nil {
				return err
			}
			r, err := m.integrate(ends)
			if err != nil {
				return err
			}
			units = m.unitsAt(r)
			i.server.nudge(m)
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

// integrate makes a relation, unless there is one.
func (m *model) integrate(ends []end) (*relation, error) {
	key := (&relation{Ends: ends}).key()
	for _, r := range m.Relations {
		switch {
		case r.key() != key:
		case r.Dying:
			return nil, fmt.Errorf("cannot add relation %q: relation %s is dying, but not yet removed (already exists)", key, key)
		default:
			return nil, fmt.Errorf("cannot add relation %q: relation %s already exists (already exists)", key, key)
		}
	}
	for _, e := range ends {
		if m.Applications[e.App].Dying {
			return nil, fmt.Errorf("cannot add relation %q: application %q is not alive", key, e.App)
		}
	}
	return m.addRelation(ends...), nil
}

// infer finds the only pair of endpoints that two arguments APP[:ENDPOINT] can
// mean, the requirer's first.
func (m *model) infer(args []string) ([]end, error) {
	first, err := m.endpoints(args[0])
	if err != nil {
		return nil, err
	}
	second, err := m.endpoints(args[1])
	if err != nil {
		return nil, err
	}
	var pairs [][]end
	for _, a := range first {
		for _, b := range second {
			if a.App == b.App || a.Interface != b.Interface {
				continue
			}
			switch {
			case a.Role == roleRequirer && b.Role == roleProvider:
				pairs = append(pairs, []end{a, b})
			case a.Role == roleProvider && b.Role == roleRequirer:
				pairs = append(pairs, []end{b, a})
			}
		}
	}
	switch len(pairs) {
	case 0:
		return nil, fmt.Errorf("no relations found")
	case 1:
		return pairs[0], nil
	}
	var keys []string
	for _, pair := range pairs {
		keys = append(keys, strconv.Quote((&relation{Ends: pair}).key()))
	}
	slices.Sort(keys)
	return nil, fmt.Errorf("ambiguous relation: %q could refer to %s", strings.Join(args, " "), strings.Join(keys, "; "))
}

// endpoints are those that an argument APP[:ENDPOINT] can mean.
func (m *model) endpoints(arg string) ([]end, error) {
	app, name, named := strings.Cut(arg, ":")
	if app == "" || named && name == "" {
		return nil, fmt.Errorf("invalid endpoint %q", arg)
	}
	a, err := m.application(app)
	if err != nil {
		return nil, err
	}
	if _, known := a.Charm.Endpoints[name]; named && !known {
		return nil, fmt.Errorf("application %q has no %q relation", app, name)
	}
	var found []end
	for known, e := range a.Charm.Endpoints {
		if e.Role != rolePeer && (!named || known == name) {
			found = append(found, end{app, known, e.Role, e.Interface})
		}
	}
	slices.SortFunc(found, func(x, y end) int { return cmp.Compare(x.Endpoint, y.Endpoint) })
	return found, nil
}

// unitsAt are the units of all applications in a relation.
func (m *model) unitsAt(relations ...*relation) []*unit {
	var units []*unit
	for _, r := range relations {
		for _, e := range r.Ends {
			if a := m.Applications[e.App]; a != nil {
				units = append(units, slices.Collect(maps.Values(a.Units))...)
			}
		}
	}
	return units
}

func cmdRemoveRelation(i *invocation) func(context.Context) error {
	i.flags.Bool("force", false, "")
	return func(ctx context.Context) error {
		if err := i.count(1, 2, "two applications, each with an endpoint if need be, or the number of a relation"); err != nil {
			return err
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			r, err := m.existing(i.args)
			if err != nil {
				return err
			}
			units = m.unitsAt(r)
			i.server.breakRelation(m, r)
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

// existing finds the relation that the arguments of remove-relation mean.
func (m *model) existing(args []string) (*relation, error) {
	if len(args) == 1 {
		number, err := strconv.Atoi(args[0])
		if err != nil {
			return nil, usagef("a relation must involve two applications, or be given by its number")
		}
		if r := m.Relations[number]; r != nil && !r.isPeer() {
			return r, nil
		}
		return nil, fmt.Errorf("relation %d not found", number)
	}
	means := func(arg string, e end) bool { return arg == e.App || arg == e.String() }
	var found []*relation
	for _, r := range m.Relations {
		if r.isPeer() {
			continue
		}
		a, b := r.Ends[0], r.Ends[1]
		if means(args[0], a) && means(args[1], b) || means(args[0], b) && means(args[1], a) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("relation matching %q not found", strings.Join(args, " "))
	case 1:
		return found[0], nil
	}
	var keys []string
	for _, r := range found {
		keys = append(keys, strconv.Quote(r.key()))
	}
	slices.Sort(keys)
	return nil, fmt.Errorf("ambiguous relation: %q could refer to %s", strings.Join(args, " "), strings.Join(keys, "; "))
}
