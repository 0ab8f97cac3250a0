package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Retire removes every runner of the unit, busy or not, with or without GitHub,
// and then all that the cloud prepared for the unit. It returns the names of the
// registrations that GitHub still holds: it removes them by itself within a day.
func (m *Manager) Retire(ctx context.Context, scope Scope) (left []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Limits.Reconcile)
	defer cancel()
	f := &flush{Manager: m, scope: scope, rule: flushRule{busy: true, force: true}, tally: newTally()}
	began := time.Now()
	defer func() { f.summarise(time.Since(began)) }()
	if err := f.removeBusy(ctx); err != nil {
		return nil, fmt.Errorf("cannot remove the unit's runners: %w", err)
	}
	if err := f.deregisterOrphans(ctx); err != nil {
		return sortedKeys(f.tally.left), err
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

// deregisterOrphans tries once more what GitHub still holds.
func (f *flush) deregisterOrphans(ctx context.Context) error {
	view, err := f.see(ctx, f.scope)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(f.cfg.Limits.Deletes)
	for _, orphan := range view.Orphans {
		group.Go(func() error {
			err := f.deregister(ctx, orphan)
			f.tally.note(func() {
				delete(f.tally.left, orphan.Name)
				if err != nil {
					f.tally.left[orphan.Name] = true
				}
			})
			return nil
		})
	}
	return group.Wait()
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
