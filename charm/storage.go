package charm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github-runner/charm/juju"
	"github-runner/charm/state"
)

// storageName is the storage in metadata.yaml that runners' disks may live on.
const storageName = "runner"

// findStorage notes where Juju has attached the unit's storage, if it has.
func (s *session) findStorage(ctx context.Context) error {
	ids, err := s.Model.StorageIDs(ctx, storageName)
	if err != nil {
		return err
	}
	var id, location string
	if len(ids) > 0 {
		id = ids[0]
		if slices.Contains(ids, s.Past.Detaching) {
			id = s.Past.Detaching
		}
		if location, err = s.Model.StorageLocation(ctx, ids[0]); err != nil {
			return err
		}
	}
	s.moved = s.moved || s.Past.Storage != location || s.Past.StorageID != id
	s.Past.Storage, s.Past.StorageID = location, id
	return nil
}

// leftStorage notes that no runner's disk is on the storage any more, unless the
// configuration wants them there.
func (s *session) leftStorage() {
	if s.wanted.Storage == state.JujuStorage || !s.Past.OnStorage {
		return
	}
	s.Past.OnStorage = false
	if err := s.Dir.WriteState(s.Past); err != nil {
		s.Log.WithError(err).Warn("that no runner is on the storage any more could not be written down")
	}
}

// storageAttached takes the storage into use with the next runner.
func (c *Charm) storageAttached(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if err := s.markDetaching(""); err != nil {
			return err
		}
		if len(s.Past.Applied) == 0 {
			return nil // before install: the hooks to come will find it
		}
		_, err := s.reconcile(ctx)
		return err
	})
}

// storageDetaching empties the storage, which Juju takes away once this hook has
// succeeded, with whatever runs on it. So it does not succeed while a runner is
// busy, unless the unit is being removed: Juju then tries it again, and runs the
// actions that were queued before it does.
func (c *Charm) storageDetaching(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if !s.OnStorage(s.wanted) {
			return nil // nothing of ours is on it
		}
		dying, err := s.Model.Dying(ctx, s.owner.Unit)
		if err != nil {
			s.Log.WithError(err).Warn("whether the unit is being removed can't be told: busy runners are waited for")
		}
		if !dying {
			if err := s.emptyStorage(ctx); err != nil {
				return err
			}
		}
		s.progress(ctx)("removing what the runners had on the storage that is being detached")
		if err := s.retire(ctx, false); err != nil {
			return err
		}
		s.leftStorage()
		return s.show(ctx, appearance{juju.Waiting, "the storage was detached; the next hook starts runners elsewhere"})
	})
}

// emptyStorage lets idle runners go and waits for busy ones to end. Until the storage is
// gone nothing is created on it, by an action either.
func (s *session) emptyStorage(ctx context.Context) error {
	if err := s.markDetaching(s.Context.Storage.ID); err != nil {
		return err
	}
	fleet, err := s.appliedFleet(ctx)
	if err != nil {
		return err
	}
	defer fleet.Close()
	if fleet.Host != nil && !fleet.Host.Installed() {
		return nil
	}
	s.progress(ctx)("removing idle runners, and waiting for busy ones, before the storage is detached")
	left, err := fleet.Manager.Drain(ctx, s.Want(s.wanted))
	if len(left) > 0 {
		return fmt.Errorf("cannot detach the storage while jobs run on it: Juju tries again, or end them by the action flush-runners with mode=flush-busy: %s", strings.Join(left, ", "))
	}
	return err
}

// markDetaching remembers which storage Juju wants back, if any.
func (s *session) markDetaching(id string) error {
	if s.Past.Detaching == id {
		return nil
	}
	s.Past.Detaching = id
	if err := s.Dir.WriteState(s.Past); err != nil {
		return fmt.Errorf("cannot remember which storage is being detached: %w", err)
	}
	return nil
}
