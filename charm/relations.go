package charm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github-runner/charm/juju"
	"github-runner/charm/secret"
	"github-runner/charm/state"
)

// The relations in metadata.yaml whose remote units tell this unit something.
const (
	// debugEndpoint: they are servers for debugging sessions.
	debugEndpoint = "debug-ssh"
	// imageEndpoint: they name the image that runners start from.
	imageEndpoint = "image"
)

// What the hooks of a relation are called, after its endpoint.
const (
	createdHook  = "-relation-created"
	changedHook  = "-relation-changed"
	departedHook = "-relation-departed"
	brokenHook   = "-relation-broken"
)

// bags are what remote units sent, by name of the unit.
type bags = map[string]map[string]string

// readRelations fills in what came by relations.
func (s *session) readRelations(ctx context.Context, source *state.Source) error {
	for _, relation := range []struct {
		endpoint string
		into     *bags
	}{{debugEndpoint, &source.DebugSSH}, {imageEndpoint, &source.Image}} {
		sent, warnings, err := s.sent(ctx, relation.endpoint)
		if err != nil {
			return err
		}
		*relation.into = sent
		source.Warnings = append(source.Warnings, warnings...)
	}
	for unit, data := range source.DebugSSH {
		if missing := state.MissingDebugKeys(data); len(missing) > 0 {
			s.Log.WithField("unit", unit).WithField("missing", missing).Debug("a unit of debug-ssh has not sent everything yet")
		}
	}
	return nil
}

// sent is what the remote units of all relations at an endpoint sent; nil where there
// is no relation. A unit whose data can't be used gives a warning and hides no other.
func (s *session) sent(ctx context.Context, endpoint string) (all bags, warnings []string, err error) {
	ids, err := s.Model.RelationIDs(ctx, endpoint)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		if s.ends(id) {
			continue
		}
		if all == nil {
			all = bags{}
		}
		units, err := s.remoteUnits(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		for _, unit := range units {
			data, err := s.Model.RelationUnitData(ctx, id, unit)
			var unusable *juju.AnswerError
			if errors.As(err, &unusable) {
				warnings = append(warnings, fmt.Sprintf("%s: unit %q is left out: %v", endpoint, unit, err))
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			if all[unit] != nil {
				// One application may offer the relation at two endpoints.
				unit += " in " + id
			}
			all[unit] = data
		}
	}
	return all, warnings, nil
}

// sendCredentials tells the application at the relation image how to log in to
// OpenStack: it makes its images there, also while the runners are still to move there.
// What was sent before and does not hold any more is taken back. Without it no image
// comes, so that the next hook tries again.
func (s *session) sendCredentials(ctx context.Context) {
	to := s.wanted
	if s.moving {
		to = s.next
	}
	if !to.ImageRelation.Integrated {
		return
	}
	credentials := to.ImageCredentials()
	ids, err := s.Model.RelationIDs(ctx, imageEndpoint)
	for _, id := range ids {
		if !s.ends(id) {
			err = errors.Join(err, s.sendCredentialsTo(ctx, id, credentials))
		}
	}
	if err != nil {
		s.Log.WithError(err).Warnf("the application at the relation %s can't be told how to log in to OpenStack", imageEndpoint)
	}
}

func (s *session) sendCredentialsTo(ctx context.Context, id string, credentials map[string]secret.Text) error {
	have, err := s.Model.RelationUnitData(ctx, id, s.Context.Unit)
	if err != nil {
		return err
	}
	changes := map[string]secret.Text{}
	for key, value := range credentials {
		if have[key] != value.Reveal() {
			changes[key] = value
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return s.Neighbours.SetRelationData(ctx, id, changes)
}

// isAbout reports whether this is a hook of that kind of one relation.
func (s *session) isAbout(id, kind string) bool {
	return s.Context.Kind == juju.KindHook && s.Context.Relation.ID == id && strings.HasSuffix(s.Context.Name, kind)
}

// ends reports whether this is the hook that tells of a relation's end: Juju goes on
// listing the relation in it.
func (s *session) ends(id string) bool {
	return s.isAbout(id, brokenHook)
}

// remoteUnits are the units of a relation that stay in it: one may still be listed in
// the hook that tells of its departure.
func (s *session) remoteUnits(ctx context.Context, id string) ([]string, error) {
	units, err := s.Model.RelationUnits(ctx, id)
	if err != nil || !s.isAbout(id, departedHook) {
		return units, err
	}
	about := s.Context.Relation
	return slices.DeleteFunc(slices.Clone(units), func(unit string) bool {
		return unit == about.DepartingUnit || unit == about.RemoteUnit
	}), nil
}

// relationDeparted goes on without the unit that left. Where Juju says that this
// unit is the one that leaves, it is being removed: no runner is replaced any
// more, because stop follows.
func (c *Charm) relationDeparted(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if s.Context.Relation.DepartingUnit == s.Context.Unit {
			s.markStopping()
		}
		_, err := s.reconcile(ctx)
		return err
	})
}
