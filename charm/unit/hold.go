package unit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unitdir"
)

// Hold is one process's hold on a unit, from Take to Release: nobody else makes,
// removes or remembers anything for the unit meanwhile.
type Hold struct {
	Dir *unitdir.Dir
	// Past is what the unit remembers. What is changed in it is kept by Write.
	Past unitdir.State
	// DrainedSince is since when the unit is drained, the zero time where it is
	// not; Drain and Resume change it.
	DrainedSince time.Time
	// Unwritten is why Past could not be written last, if it could not.
	Unwritten error

	log    *logrus.Entry
	unlock func()
}

// Take waits for the unit's lock, until ctx ends, and reads what the unit
// remembers. What can't be understood of it is said in the log, and lost. The
// resident agent is asked to give way meanwhile.
func Take(ctx context.Context, dir *unitdir.Dir, log *logrus.Entry) (*Hold, error) {
	done := announce(ctx, dir)
	defer done()
	return TakeBetween(ctx, dir, log)
}

// TakeBetween is Take for the agent itself, which takes the unit between those
// who announce themselves.
func TakeBetween(ctx context.Context, dir *unitdir.Dir, log *logrus.Entry) (*Hold, error) {
	unlock, err := dir.Lock(ctx)
	if err != nil {
		return nil, err
	}
	h := &Hold{Dir: dir, log: log, unlock: unlock}
	if h.DrainedSince, err = dir.DrainedSince(); err != nil {
		unlock()
		return nil, err
	}
	past, err := dir.ReadState()
	var corrupt *unitdir.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		unlock()
		return nil, err
	}
	if corrupt != nil {
		log.WithError(corrupt).Warn("the unit's memory is lost; its runners are not")
	}
	h.Past = past
	return h, nil
}

// Release lets the unit go. It may be called more than once.
func (h *Hold) Release() {
	h.unlock()
}

// LastApplied is the state that was put into effect last.
func (h *Hold) LastApplied() (state.CharmState, bool) {
	if len(h.Past.Applied) == 0 {
		return state.CharmState{}, false
	}
	applied, err := state.Decode(h.Past.Applied)
	if err != nil {
		h.log.WithError(err).Warn("the state that was applied last can't be read: it is made anew from the configuration")
		return state.CharmState{}, false
	}
	return applied, true
}

// Write keeps what the unit remembers.
func (h *Hold) Write() error {
	h.Unwritten = h.Dir.WriteState(h.Past)
	return h.Unwritten
}

// OnStorage reports whether a runner's disk may be on the storage that Juju
// attached: a runner that is busy stays there when the state in force turns to
// another.
func (h *Hold) OnStorage(inForce state.CharmState) bool {
	return inForce.Storage == state.JujuStorage || h.Past.OnStorage
}

// Memory is what the last manager of the unit's runners remembered. Beside an
// error it is good to go on with.
func (h *Hold) Memory() (runner.Memory, error) {
	memory := runner.Memory{Seen: h.Past.Seen}
	for _, former := range h.Past.FormerScopes {
		memory.Former = append(memory.Former, runner.Scope(former.Scope))
	}
	if len(h.Past.Setbacks) == 0 {
		return memory, nil
	}
	if err := json.Unmarshal(h.Past.Setbacks, &memory.Setbacks); err != nil {
		return memory, fmt.Errorf("cannot read the setbacks: %w", err)
	}
	return memory, nil
}

// SaveMemory keeps what the manager remembers. Former scopes that it has let go
// of are forgotten with their credentials.
func (h *Hold) SaveMemory(memory runner.Memory) error {
	setbacks, err := json.Marshal(memory.Setbacks)
	if err != nil {
		return fmt.Errorf("cannot encode the setbacks: %w", err)
	}
	known := map[runner.Scope]unitdir.FormerScope{}
	for _, former := range h.Past.FormerScopes {
		// The last credential of a scope is the best that there is for it.
		if scope := runner.Scope(former.Scope); !former.IsZero() || known[scope].IsZero() {
			known[scope] = former
		}
	}
	h.Past.FormerScopes = nil
	for _, scope := range memory.Former {
		former, ok := known[scope]
		if !ok {
			former = unitdir.FormerScope{Scope: unitdir.Scope(scope), Since: time.Now().UTC()}
		}
		h.Past.FormerScopes = append(h.Past.FormerScopes, former)
	}
	h.Past.Seen = maps.Clone(memory.Seen)
	h.Past.Setbacks = setbacks
	return h.Write()
}

// FormerCharm is what is known of the charm that the unit was refreshed from, in
// the folder charmDir.
func (h *Hold) FormerCharm(charmDir string) takeover.Memory {
	memory, err := takeover.Recall(h.Past.FormerCharm, charmDir)
	if err != nil {
		h.log.WithError(err).Warn("not all is known of the previous charm")
	}
	return memory
}

// SaveFormerCharm keeps what is known of the charm before.
func (h *Hold) SaveFormerCharm(memory takeover.Memory) error {
	encoded, err := json.Marshal(memory)
	if err != nil {
		return fmt.Errorf("cannot encode what is known of the previous charm: %w", err)
	}
	h.Past.FormerCharm = encoded
	return h.Dir.WriteState(h.Past)
}

// Materials are what a fleet for the state in force is built from, as far as the
// unit remembers them.
func (h *Hold) Materials(inForce state.CharmState, charmDir string) Materials {
	memory, err := h.Memory()
	if err != nil {
		h.log.WithError(err).Warn("what was seen of the runners is lost; the runners are not")
	}
	credentials := map[runner.Scope]state.Credential{}
	for _, former := range h.Past.FormerScopes {
		if !former.IsZero() {
			credentials[runner.Scope(former.Scope)] = Recalled(former.Credential)
		}
	}
	former := h.FormerCharm(charmDir)
	if scope := (runner.Scope{API: inForce.Scope.API, Path: former.Path}); scope != inForce.Scope && !former.Token.IsZero() {
		credentials[scope] = state.Credential{Token: former.Token.Text}
	}
	return Materials{
		Dir:               h.Dir,
		Storage:           h.Past.Storage,
		FormerCredentials: credentials,
		Memory:            memory,
		Save:              h.SaveMemory,
		FormerCharm:       former,
		SaveFormerCharm:   h.SaveFormerCharm,
		CharmDir:          charmDir,
		Progress:          func(string) {},
		Log:               h.log,
	}
}

// Want is what the state in force asks of the manager: no runners where the unit
// is being drained, or its storage is about to be taken away.
func (h *Hold) Want(inForce state.CharmState) runner.Want {
	want := runner.Want{
		Count:  inForce.Count,
		Scope:  inForce.Scope,
		Group:  inForce.Group,
		Labels: inForce.Labels,
	}
	if h.Drained() || h.Detaching(inForce) {
		want.Count = 0
	}
	return want
}

// Drained reports whether the operator wants no runners here for now, whatever
// the configuration says.
func (h *Hold) Drained() bool {
	return !h.DrainedSince.IsZero()
}

// Drain lets Want ask for no runners until Resume, also in the holds to come.
func (h *Hold) Drain() error {
	if err := h.Dir.MarkDrained(); err != nil {
		return err
	}
	since, err := h.Dir.DrainedSince()
	h.DrainedSince = since
	return err
}

// Resume lets Want ask for runners again.
func (h *Hold) Resume() error {
	if err := h.Dir.UnmarkDrained(); err != nil {
		return err
	}
	h.DrainedSince = time.Time{}
	return nil
}

// Detaching reports whether the unit still has a storage that Juju wants back and
// that runners may be on.
func (h *Hold) Detaching(inForce state.CharmState) bool {
	return h.Past.Detaching != "" && h.Past.Detaching == h.Past.StorageID && h.OnStorage(inForce)
}
