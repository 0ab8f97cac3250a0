package charm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// session is one call's hold on the unit, and what it was asked for.
type session struct {
	*Charm
	*unit.Hold
	owner runner.Owner

	// wanted is the state in force: that of the configuration, or the last one
	// that was applied where the configuration is bad.
	wanted state.CharmState
	// problems is what is wrong with the configuration; none where all is well.
	problems state.Problems
	// next is what wanted will be once the runners have left the cloud that they are on,
	// where moving is set.
	next   state.CharmState
	moving bool
	// inForce is false when there is no state to work with at all.
	inForce bool
	// moved is set when the storage is not where it was at the last hook.
	moved bool
	// former are the runners of the charm that the unit was refreshed from.
	former takeover.Runners
	// serviceNotes is what a person should know of the unit's services.
	serviceNotes []string
	// ahead is set when the state in force could not be written down when it was
	// put into effect.
	ahead bool
	// agentOff is set where the operator switched the agent off.
	agentOff bool
}

// self is the unit as the owner of its runners.
func (c *Charm) self() runner.Owner {
	return runner.Owner{ModelUUID: c.Context.ModelUUID, Unit: c.Context.Unit}
}

// folder is the unit's.
func (c *Charm) folder() (*unitdir.Dir, error) {
	dir, err := unitdir.Open(c.Root, c.self().Prefix())
	if err != nil || c.Meeting == nil {
		return dir, err
	}
	return dir.At(c.Meeting), nil
}

// open takes the unit's lock and reads everything.
func (c *Charm) open(ctx context.Context) (*session, error) {
	dir, err := c.folder()
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, LockWait)
	defer cancel()
	hold, err := unit.Take(waiting, dir, c.Log)
	if err != nil {
		return nil, err
	}
	s := &session{Charm: c, Hold: hold, owner: c.self()}
	if err := s.read(ctx); err != nil {
		hold.Release()
		return nil, err
	}
	return s, nil
}

// read fills in what the unit's configuration says.
func (s *session) read(ctx context.Context) error {
	if err := s.findStorage(ctx); err != nil {
		return err
	}
	config, err := s.Model.Config(ctx)
	if err != nil {
		return err
	}
	secrets, err := s.readSecrets(ctx, config)
	if err != nil {
		return err
	}
	source := state.Source{
		Config:    config,
		Secrets:   secrets,
		Proxies:   state.Proxies(s.Context.Proxies),
		Machine:   s.Machine,
		ModelUUID: s.owner.ModelUUID,
		Unit:      s.owner.Unit,
	}
	if err := s.readRelations(ctx, &source); err != nil {
		return err
	}
	s.wanted, err = state.New(source)
	s.inForce = err == nil
	if err != nil && !errors.As(err, &s.problems) {
		return err
	}
	if s.inForce {
		s.move()
		for _, warning := range s.wanted.Warnings {
			s.Log.Warn(warning)
		}
		return nil
	}
	s.Log.WithError(s.problems).Warn("the configuration is not applied")
	if applied, ok := s.LastApplied(); ok {
		s.wanted, s.inForce = applied, true
		return nil
	}
	// Enough to find and remove what is the unit's.
	s.wanted = state.CharmState{Owner: s.owner, InstanceType: state.Container, Storage: state.JujuStorage}
	return nil
}

// apply remembers that the configuration is being put into effect, and where
// runners may be registered besides. A bad configuration changes nothing.
func (s *session) apply() error {
	if s.problems != nil {
		// The agent of this build goes on with what is in force.
		refreshed := s.inForce && s.Past.Build != s.Build
		if refreshed {
			s.Past.Build = s.Build
		}
		if s.moved || refreshed {
			return s.Write()
		}
		return nil
	}
	encoded, err := state.Encode(s.wanted)
	if err != nil {
		return err
	}
	last, ok := s.LastApplied()
	known := s.Past.OnStorage == s.OnStorage(s.wanted) && !s.moved
	s.Past.OnStorage = s.OnStorage(s.wanted)
	if ok && known && s.Past.Build == s.Build && sameState(last, encoded) {
		return nil
	}
	if ok {
		s.follow(last, encoded)
	}
	s.Past.Applied = encoded
	s.Past.Build = s.Build
	s.Past.FormerScopes = slices.DeleteFunc(s.Past.FormerScopes, func(f unitdir.FormerScope) bool {
		return runner.Scope(f.Scope) == s.wanted.Scope
	})
	return s.Write()
}

// follow notes what a state leaves to the one after it.
func (s *session) follow(last state.CharmState, encoded []byte) {
	if !sameState(last, encoded) {
		// What failed under the last one may work under this one.
		s.Past.Setbacks = nil
	}
	if last.Scope == s.wanted.Scope {
		return
	}
	// With its credential, which may be the only one that can still remove
	// registrations there.
	s.Past.FormerScopes = append(s.Past.FormerScopes, unitdir.FormerScope{
		Scope:      unitdir.Scope(last.Scope),
		Credential: unit.Kept(last.Credential),
		Since:      time.Now().UTC(),
	})
}

func sameState(a state.CharmState, encoded []byte) bool {
	other, err := state.Encode(a)
	return err == nil && bytes.Equal(other, encoded)
}

// fleet builds what the state in force works with.
func (s *session) fleet(ctx context.Context) (unit.Fleet, error) {
	materials := s.Materials(s.wanted, s.Context.CharmDir)
	materials.Progress = s.progress(ctx)
	return s.Assemble(s.wanted, materials)
}
