package charm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unitdir"
)

// session is one call's hold on the unit: its folder, its lock, what it
// remembers and what it was asked for.
type session struct {
	*Charm
	owner  runner.Owner
	dir    *unitdir.Dir
	unlock func()
	past   unitdir.State

	// wanted is the state in force: that of the configuration, or the last one
	// that was applied where the configuration is bad.
	wanted state.CharmState
	// problems is what is wrong with the configuration.
	problems error
	// unwritten is why the state could not be written last, if it could not.
	unwritten error
	// inForce is false when there is no state to work with at all.
	inForce bool
	// detaching is set while the unit has a storage that Juju wants back.
	detaching bool
	// former are the runners of the charm that the unit was refreshed from.
	former takeover.Runners
}

// open takes the unit's lock and reads everything.
func (c *Charm) open(ctx context.Context) (*session, error) {
	owner := runner.Owner{ModelUUID: c.Context.ModelUUID, Unit: c.Context.Unit}
	dir, err := unitdir.Open(c.Root, owner.Prefix())
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, LockWait)
	defer cancel()
	unlock, err := dir.Lock(waiting)
	if err != nil {
		return nil, err
	}
	s := &session{Charm: c, owner: owner, dir: dir, unlock: unlock}
	if err := s.read(ctx); err != nil {
		unlock()
		return nil, err
	}
	return s, nil
}

// read fills in what the unit remembers and what its configuration says.
func (s *session) read(ctx context.Context) error {
	past, err := s.dir.ReadState()
	var corrupt *unitdir.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return err
	}
	if corrupt != nil {
		s.Log.WithError(corrupt).Warn("the unit's memory is lost; its runners are not")
	}
	s.past = past
	config, err := s.Model.Config(ctx)
	if err != nil {
		return err
	}
	debug, warnings, err := s.debugData(ctx)
	if err != nil {
		return err
	}
	s.wanted, s.problems = state.New(state.Source{
		Config:    config,
		Proxies:   state.Proxies(s.Context.Proxies),
		Machine:   s.Machine,
		ModelUUID: s.owner.ModelUUID,
		Unit:      s.owner.Unit,
		DebugSSH:  debug,
		Warnings:  warnings,
	})
	s.inForce = s.problems == nil
	if s.inForce {
		for _, warning := range s.wanted.Warnings {
			s.Log.Warn(warning)
		}
		return nil
	}
	s.Log.WithError(s.problems).Warn("the configuration is not applied")
	if applied, ok := s.lastApplied(); ok {
		s.wanted, s.inForce = applied, true
		return nil
	}
	// Enough to find and remove what is the unit's.
	s.wanted = state.CharmState{Owner: s.owner, InstanceType: state.Container, Storage: state.JujuStorage}
	return nil
}

// lastApplied is the state that was put into effect last.
func (s *session) lastApplied() (state.CharmState, bool) {
	if len(s.past.Applied) == 0 {
		return state.CharmState{}, false
	}
	applied, err := state.Decode(s.past.Applied)
	if err != nil {
		s.Log.WithError(err).Warn("the state that was applied last can't be read: it is made anew from the configuration")
		return state.CharmState{}, false
	}
	return applied, true
}

// apply remembers that the configuration is being put into effect, and where
// runners may be registered besides. A bad configuration changes nothing.
func (s *session) apply() error {
	if s.problems != nil {
		return nil
	}
	encoded, err := state.Encode(s.wanted)
	if err != nil {
		return err
	}
	last, ok := s.lastApplied()
	known := s.past.OnStorage == s.onStorage()
	s.past.OnStorage = s.onStorage()
	if ok && known && s.past.Build == s.Build && sameState(last, encoded) {
		return nil
	}
	if ok {
		s.follow(last, encoded)
	}
	s.past.Applied = encoded
	s.past.Build = s.Build
	s.past.FormerScopes = slices.DeleteFunc(s.past.FormerScopes, func(f unitdir.FormerScope) bool {
		return runner.Scope(f.Scope) == s.wanted.Scope
	})
	return s.write()
}

// follow notes what a state leaves to the one after it.
func (s *session) follow(last state.CharmState, encoded []byte) {
	if !sameState(last, encoded) {
		// What failed under the last one may work under this one.
		s.past.Setbacks = nil
	}
	if last.Scope == s.wanted.Scope {
		return
	}
	// With its token, which may be the only one that can still remove
	// registrations there.
	s.past.FormerScopes = append(s.past.FormerScopes, unitdir.FormerScope{
		Scope: unitdir.Scope(last.Scope),
		Token: secret.Stored{Text: last.Token},
		Since: time.Now().UTC(),
	})
}

func sameState(a state.CharmState, encoded []byte) bool {
	other, err := state.Encode(a)
	return err == nil && bytes.Equal(other, encoded)
}

// fleet builds what the state in force works with.
func (s *session) fleet(ctx context.Context) (Fleet, error) {
	storage, err := s.storage(ctx)
	if err != nil {
		return Fleet{}, err
	}
	memory, err := s.memory()
	if err != nil {
		s.Log.WithError(err).Warn("what was seen of the runners is lost; the runners are not")
	}
	tokens := map[runner.Scope]secret.Text{}
	for _, former := range s.past.FormerScopes {
		if !former.Token.IsZero() {
			tokens[runner.Scope(former.Scope)] = former.Token.Text
		}
	}
	former := s.formerCharm()
	if scope := (runner.Scope{API: s.wanted.Scope.API, Path: former.Path}); scope != s.wanted.Scope && !former.Token.IsZero() {
		tokens[scope] = former.Token.Text
	}
	return s.Assemble(s.wanted, Materials{
		Dir:             s.dir,
		Storage:         storage,
		FormerTokens:    tokens,
		Memory:          memory,
		Save:            s.saveMemory,
		FormerCharm:     former,
		SaveFormerCharm: s.saveFormerCharm,
		CharmDir:        s.Context.CharmDir,
		Progress:        s.progress(ctx),
		Log:             s.Log,
	})
}

func (s *session) memory() (runner.Memory, error) {
	memory := runner.Memory{Seen: s.past.Seen}
	for _, former := range s.past.FormerScopes {
		memory.Former = append(memory.Former, runner.Scope(former.Scope))
	}
	if len(s.past.Setbacks) == 0 {
		return memory, nil
	}
	if err := json.Unmarshal(s.past.Setbacks, &memory.Setbacks); err != nil {
		return memory, fmt.Errorf("cannot read the setbacks: %w", err)
	}
	return memory, nil
}

// write keeps what the unit remembers.
func (s *session) write() error {
	s.unwritten = s.dir.WriteState(s.past)
	return s.unwritten
}

// saveMemory keeps what the manager remembers. Former scopes that it has let go
// of are forgotten with their tokens.
func (s *session) saveMemory(memory runner.Memory) error {
	setbacks, err := json.Marshal(memory.Setbacks)
	if err != nil {
		return fmt.Errorf("cannot encode the setbacks: %w", err)
	}
	known := map[runner.Scope]unitdir.FormerScope{}
	for _, former := range s.past.FormerScopes {
		// The last token of a scope is the best that there is for it.
		if scope := runner.Scope(former.Scope); !former.Token.IsZero() || known[scope].Token.IsZero() {
			known[scope] = former
		}
	}
	s.past.FormerScopes = nil
	for _, scope := range memory.Former {
		former, ok := known[scope]
		if !ok {
			former = unitdir.FormerScope{Scope: unitdir.Scope(scope), Since: time.Now().UTC()}
		}
		s.past.FormerScopes = append(s.past.FormerScopes, former)
	}
	s.past.Seen = maps.Clone(memory.Seen)
	s.past.Setbacks = setbacks
	return s.write()
}

// want is what the state in force asks of the manager.
func (s *session) want() runner.Want {
	want := runner.Want{
		Count:  s.wanted.Count,
		Scope:  s.wanted.Scope,
		Group:  s.wanted.Group,
		Labels: s.wanted.Labels,
	}
	if s.detaching {
		want.Count = 0
	}
	return want
}
