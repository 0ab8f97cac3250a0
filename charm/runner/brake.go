package runner

import (
	"errors"
	"time"
)

// The brake on creating: two failures of a kind in a row make it wait, longer
// each time, and try with one runner at a time until one succeeds.
const (
	firstBackOff = 10 * time.Second
	maxBackOff   = 10 * time.Minute
)

// Kinds of failures to get a new runner.
const (
	failQuota        = "quota"
	failNotFound     = "not found"
	failUnauthorized = "unauthorized"
	failInvalid      = "invalid"
	failStart        = "failed start"
	failTransient    = "transient"
)

// failures are the errors behind the kinds; where several have one kind, the
// first speaks for it.
func failures() []struct {
	err  error
	kind string
} {
	return []struct {
		err  error
		kind string
	}{
		{ErrQuota, failQuota},
		{ErrNotFound, failNotFound},
		{ErrUnauthorized, failUnauthorized},
		{ErrForbidden, failUnauthorized},
		{ErrInvalid, failInvalid},
		{ErrFailedStart, failStart},
	}
}

func failureKind(err error) string {
	for _, f := range failures() {
		if errors.Is(err, f.err) {
			return f.kind
		}
	}
	return failTransient
}

// kindError is the error that stands for a kind of failure; nil for those that
// pass by themselves.
func kindError(kind string) error {
	for _, f := range failures() {
		if f.kind == kind {
			return f.err
		}
	}
	return nil
}

func (m *Memory) fail(kind, reason string, now time.Time) {
	if m.Setbacks == nil {
		m.Setbacks = map[string]Setback{}
	}
	s := m.Setbacks[kind]
	s.Count++
	s.Reason = reason
	s.Last, s.Until = now, now
	if s.Count >= 2 {
		s.Until = now.Add(backOff(s.Count - 2))
	}
	m.Setbacks[kind] = s
}

func backOff(doublings int) time.Duration {
	wait := firstBackOff
	for ; doublings > 0 && wait < maxBackOff; doublings-- {
		wait *= 2
	}
	return min(wait, maxBackOff)
}

// overcome forgets the failures of creating: one was created.
func (m *Memory) overcome(kinds ...string) {
	for _, kind := range kinds {
		delete(m.Setbacks, kind)
	}
}

// refutes reports whether a runner shows that the failures to start are over: one
// that was there before them shows nothing. Its replacement is made at the instant
// at which one is seen to have failed, and a cloud may tell of whole seconds.
func (m *Memory) refutes(runner Info) bool {
	return runner.Proven && !runner.Created.Before(m.Setbacks[failStart].Last.Truncate(time.Second))
}

// lastSetback returns the setback that holds creating back the longest, if any.
func (m *Memory) lastSetback() (last Setback, found bool) {
	kind, found := m.lastKind()
	return m.Setbacks[kind], found
}

func (m *Memory) lastKind() (last string, found bool) {
	for kind, s := range m.Setbacks {
		if !found || s.Until.After(m.Setbacks[last].Until) {
			last, found = kind, true
		}
	}
	return last, found
}

// allowance is how many runners may be created now, while so many others have
// yet to show that runners can start.
func (m *Memory) allowance(missing, unproven int, now time.Time) int {
	setback, found := m.lastSetback()
	switch {
	case !found:
		return missing
	case setback.Until.After(now):
		return 0
	case setback.Count > 1 && unproven > 0:
		return 0 // the probe has not shown anything yet
	}
	return min(missing, 1) // a probe
}
