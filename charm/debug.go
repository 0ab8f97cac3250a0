package charm

import (
	"context"
	"errors"
	"fmt"

	"github-runner/charm/juju"
	"github-runner/charm/state"
)

// debugEndpoint is the relation in metadata.yaml whose remote units are servers
// for debugging sessions.
const debugEndpoint = "debug-ssh"

const (
	debugChangedHook  = debugEndpoint + "-relation-changed"
	debugDepartedHook = debugEndpoint + "-relation-departed"
	debugBrokenHook   = debugEndpoint + "-relation-broken"
)

// debugData is what the remote units of all debug-ssh relations sent, by name of
// the unit. A unit whose data can't be used gives a warning and hides no other.
func (s *session) debugData(ctx context.Context) (data map[string]map[string]string, warnings []string, err error) {
	ids, err := s.Model.RelationIDs(ctx, debugEndpoint)
	if err != nil {
		return nil, nil, err
	}
	data = map[string]map[string]string{}
	for _, id := range ids {
		units, err := s.remoteUnits(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		for _, unit := range units {
			sent, err := s.Model.RelationUnitData(ctx, id, unit)
			var unusable *juju.AnswerError
			if errors.As(err, &unusable) {
				warnings = append(warnings, fmt.Sprintf("%s: unit %q is left out: %v", debugEndpoint, unit, err))
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			if missing := state.MissingDebugKeys(sent); len(missing) > 0 {
				s.Log.WithField("unit", unit).WithField("missing", missing).Debug("a unit of debug-ssh has not sent everything yet")
				continue
			}
			if data[unit] != nil {
				// One application may offer the relation at two endpoints.
				unit += " in " + id
			}
			data[unit] = sent
		}
	}
	return data, warnings, nil
}

// remoteUnits are the units of a relation that stay in it. Juju goes on listing
// a relation in the hook that tells of its end, and a unit may still be listed
// in the one that tells of its departure.
func (s *session) remoteUnits(ctx context.Context, id string) ([]string, error) {
	about := s.Context.Relation
	this := s.Context.Kind == juju.KindHook && about.ID == id
	if this && s.Context.Name == debugBrokenHook {
		return nil, nil
	}
	units, err := s.Model.RelationUnits(ctx, id)
	if err != nil || !this || s.Context.Name != debugDepartedHook {
		return units, err
	}
	var staying []string
	for _, unit := range units {
		if unit != about.DepartingUnit && unit != about.RemoteUnit {
			staying = append(staying, unit)
		}
	}
	return staying, nil
}

// debugDeparted goes on without the server that left. Where Juju says that this
// unit is the one that leaves, it is being removed: no runner is replaced any
// more, because stop follows.
func (c *Charm) debugDeparted(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if s.Context.Relation.DepartingUnit == s.Context.Unit {
			s.markStopping()
		}
		_, err := s.reconcile(ctx)
		return err
	})
}
