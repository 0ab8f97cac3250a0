package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Retire removes every runner of the unit, busy or not, with or without GitHub,
// and then all that the cloud prepared for the unit. It returns the names of the
// registrations that GitHub still holds: it removes them by itself within a day.
func (m *Manager) Retire(ctx context.Context, scope Scope) (left []string, err error) {
	f := &flush{Manager: m, scope: scope, rule: flushRule{busy: true, force: true}}
	f.tally = tally{busy: map[string]bool{}, failed: map[string]error{}, left: map[string]bool{}}
	if err := f.removeBusy(ctx); err != nil {
		return nil, fmt.Errorf("cannot remove the unit's runners: %w", err)
	}
	view, err := m.see(ctx, scope)
	if err != nil {
		return sortedKeys(f.tally.left), err
	}
	for _, orphan := range view.Orphans {
		delete(f.tally.left, orphan.Name)
		if err := m.deregister(ctx, orphan); err != nil {
			f.tally.left[orphan.Name] = true
		}
	}
	var failures []error
	for _, name := range sortedKeys(f.tally.failed) {
		failures = append(failures, fmt.Errorf("cannot remove runner %s: %w", name, f.tally.failed[name]))
	}
	if err := m.cfg.Cloud.Destroy(ctx); err != nil {
		failures = append(failures, fmt.Errorf("cannot remove what the unit's runners used: %w", err))
	}
	return sortedKeys(f.tally.left), errors.Join(failures...)
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
