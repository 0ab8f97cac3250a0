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
	failStart        = "failed start"
	failTransient    = "transient"
)

func failureKind(err error) string {
	kinds := []struct {
		err  error
		kind string
	}{
		{ErrQuota, failQuota},
		{ErrNotFound, failNotFound},
		{ErrUnauthorized, failUnauthorized},
		{ErrForbidden, failUnauthorized},
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	return failTransient
}

func (m *Memory) fail(kind, reason string, now time.Time) {
	if m.Setbacks == nil {
		m.Setbacks = map[string]Setback{}
	}
	s := m.Setbacks[kind]
	s.Count++
	s.Reason = reason
	s.Until = now
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

// lastSetback returns the setback that holds creating back the longest, if any.
func (m *Memory) lastSetback() (last Setback, found bool) {
	for _, s := range m.Setbacks {
		if !found || s.Until.After(last.Until) {
			last, found = s, true
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
	case setback.Until.After(now), unproven > 0:
		return 0
	}
	return min(missing, 1) // a probe
}
