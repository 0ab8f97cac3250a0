package runner

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Memory is what a manager can't read from the cloud or GitHub. Losing it costs
// a grace period or a few calls, never a runner.
type Memory struct {
	// Seen holds when something odd was first seen, by kind and name.
	Seen map[string]time.Time `json:"seen,omitempty"`
	// Former are scopes that runners may still be registered at besides the
	// wanted one.
	Former []Scope `json:"former,omitempty"`
	// Setbacks are the failures to create that have not been overcome, by kind.
	Setbacks map[string]Setback `json:"setbacks,omitempty"`
}

// Setback is a series of failures of one kind.
type Setback struct {
	Count int `json:"count"`
	// Last is when the last one happened.
	Last time.Time `json:"last,omitzero"`
	// Until is when the next try may be made.
	Until time.Time `json:"until"`
	// Reason is the last failure's own words.
	Reason string `json:"reason"`
}

// Clone returns a copy that shares nothing with m.
func (m Memory) Clone() Memory {
	return Memory{Seen: maps.Clone(m.Seen), Former: slices.Clone(m.Former), Setbacks: maps.Clone(m.Setbacks)}
}

func (m Memory) equal(other Memory) bool {
	sameTime := func(a, b time.Time) bool { return a.Equal(b) }
	return maps.EqualFunc(m.Seen, other.Seen, sameTime) && slices.Equal(m.Former, other.Former) && maps.Equal(m.Setbacks, other.Setbacks)
}

// sign is a kind of thing that is remembered by when it was first seen.
type sign string

const (
	signBorn         sign = "born"         // by name: created by us, not listed yet
	signDeleted      sign = "deleted"      // by name: by us, may be listed still
	signOnline       sign = "online"       // by name: came online
	signLasted       sign = "lasted"       // by name: was still online a while later
	signOffline      sign = "offline"      // by name: not online since
	signGone         sign = "gone"         // by name: registration gone since
	signQuiet        sign = "quiet"        // by name: finishing and nothing at work since
	signDeregistered sign = "deregistered" // by name: by us
	signDeleting     sign = "deleting"     // by name
	signOrphan       sign = "orphan"       // by name
	signAway         sign = "away"         // by scope: GitHub did not answer, the last time
	signSilent       sign = "silent"       // by scope: GitHub has not answered since
)

func (s sign) key(name string) string {
	return string(s) + "/" + name
}

// first returns when the sign was first seen, and remembers now as that time if
// it is new.
func (m *Memory) first(s sign, name string, now time.Time) time.Time {
	if since, ok := m.Seen[s.key(name)]; ok {
		return since
	}
	m.set(s, name, now)
	return now
}

func (m *Memory) set(s sign, name string, now time.Time) {
	if m.Seen == nil {
		m.Seen = map[string]time.Time{}
	}
	m.Seen[s.key(name)] = now
}

func (m *Memory) when(s sign, name string) (time.Time, bool) {
	t, ok := m.Seen[s.key(name)]
	return t, ok
}

func (m *Memory) forget(s sign, name string) {
	delete(m.Seen, s.key(name))
}

// shift moves all that is remembered by how far the clock was set.
func (m *Memory) shift(by time.Duration) {
	for key, when := range m.Seen {
		m.Seen[key] = when.Add(by)
	}
	for kind, setback := range m.Setbacks {
		setback.Until = setback.Until.Add(by)
		m.Setbacks[kind] = setback
	}
}

// restart makes signs of some kinds begin now.
func (m *Memory) restart(now time.Time, kinds ...sign) {
	for key := range m.Seen {
		if kind, _, _ := strings.Cut(key, "/"); slices.Contains(kinds, sign(kind)) {
			m.Seen[key] = now
		}
	}
}

// rewind mends what lies in the future, after a clock was set back while nobody
// looked: an age would not run, and a brake not let go, until the clock is there
// again.
func (m *Memory) rewind(now time.Time) {
	for key, when := range m.Seen {
		if when.After(now) {
			m.Seen[key] = now
		}
	}
	for kind, setback := range m.Setbacks {
		if latest := now.Add(maxBackOff); setback.Until.After(latest) {
			setback.Until = latest
			m.Setbacks[kind] = setback
		}
	}
}

// keepOnly forgets every sign of a name that is not among names, and that a
// scope was away before the given time.
func (m *Memory) keepOnly(names map[string]bool, away time.Time) {
	maps.DeleteFunc(m.Seen, func(key string, when time.Time) bool {
		kind, name, _ := strings.Cut(key, "/")
		if sign(kind) == signAway {
			return when.Before(away)
		}
		return !names[name]
	})
}
