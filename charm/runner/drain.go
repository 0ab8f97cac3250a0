package runner

import (
	"context"
	"fmt"
	"slices"
)

// drainLook is how many times less often than otherwise the world is looked at
// while busy runners are waited for: their end is an event of the cloud's.
const drainLook = 10

// Drain lets every runner go that is not busy, and waits for those that are, but
// no longer than Limits.Drain. It returns the names of those that are left, with
// what kept others from going. Nothing is created.
func (m *Manager) Drain(ctx context.Context, want Want) (left []string, err error) {
	want.Count = 0
	waiting, cancel := context.WithTimeout(ctx, m.cfg.Limits.Drain)
	defer cancel()
	look := &reconcile{Manager: m}
	if look.events, err = m.cfg.Cloud.Watch(waiting); err != nil {
		m.cfg.Log.WithError(err).Debug("no events from the cloud: looking at it again and again instead")
	}
	for {
		result, err := m.Reconcile(ctx, want, false)
		if left = result.View.Present(); err == nil && len(left) == 0 || ctx.Err() != nil {
			return left, err
		}
		if m.cfg.Progress != nil {
			m.cfg.Progress(fmt.Sprintf("waiting for %s to end; the action flush-runners with mode=flush-busy ends all jobs: it starts when this hook ends, within %.0f minutes", number(len(left)), m.cfg.Limits.Drain.Minutes()))
		}
		if look.pause(waiting, drainLook*m.cfg.Limits.Poll) != nil {
			return left, err
		}
	}
}

// Present returns the names of the runners whose machines are there.
func (v View) Present() []string {
	return v.namesWithout(Foreign)
}

// Staying returns the names of the runners whose machines are there, without those
// that the cloud is removing.
func (v View) Staying() []string {
	return v.namesWithout(Foreign, Deleting)
}

func (v View) namesWithout(verdicts ...Verdict) []string {
	var names []string
	for _, r := range v.Runners {
		if !slices.Contains(verdicts, r.Verdict) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}
