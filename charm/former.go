package charm

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/unit"
)

// takeoverTime is how long one hook goes on to replace runners of another charm,
// one batch after the other; the next hook goes on.
const takeoverTime = 10 * time.Minute

// refreshed converges as another build than before, maybe as another charm: what
// that one left is looked for anew.
func (c *Charm) refreshed(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if s.FormerCharm(s.Context.CharmDir).Done {
			s.Past.FormerCharm = nil
			// Now, because a bad configuration may put the rest off.
			if err := s.Dir.WriteState(s.Past); err != nil {
				s.Log.WithError(err).Warn("that the previous charm may have left something could not be written down")
			}
		}
		_, err := s.reconcile(ctx)
		return err
	})
}

// keepRunners reconciles, beside another charm's runners as long as there are any.
func (s *session) keepRunners(ctx context.Context, fleet unit.Fleet) (runner.Result, error) {
	if fleet.Former == nil {
		return fleet.Manager.Reconcile(ctx, s.Want(s.wanted), true)
	}
	result, err := s.replaceFormer(ctx, fleet)
	if ctx.Err() != nil {
		return result, err
	}
	s.tidyFormer(ctx, fleet)
	return result, err
}

// tidyFormer removes what another charm left besides runners, and notes once nothing of
// it is left, which is what the agent waits for.
func (s *session) tidyFormer(ctx context.Context, fleet unit.Fleet) {
	if fleet.Former == nil {
		return
	}
	if err := fleet.Former.Tidy(ctx); err != nil {
		s.Log.WithError(err).Warn("what the previous charm left stays for now")
	}
}

// replaceFormer replaces another charm's free runners a few at a time: one of ours
// is online before one of them goes. Those that are busy finish, and count until
// they have: the machine was made for so many runners and no more.
func (s *session) replaceFormer(ctx context.Context, fleet unit.Fleet) (runner.Result, error) {
	began := time.Now()
	for batch, before := 0, -1; ; {
		left, lookErr := fleet.Former.Release(ctx, batch)
		if lookErr != nil {
			s.Log.WithError(lookErr).Warn("the previous charm's runners can't all be dealt with now")
		}
		if lookErr != nil && len(left.Names()) == 0 {
			// How many there are is not known: ours could be too many.
			return runner.Result{}, lookErr
		}
		s.former = left
		count := len(left.Names())
		want := s.Want(s.wanted)
		extra := min(len(left.Free), max(1, want.Count/4))
		want.Count = max(0, want.Count-count+extra)
		result, err := fleet.Manager.Reconcile(ctx, want, true)
		online := result.View.Count(runner.Idle, runner.Busy)
		batch = min(len(left.Free), online+count-s.Want(s.wanted).Count)
		stuck := count == before || batch <= 0
		if stuck || lookErr != nil || ctx.Err() != nil || time.Since(began) > takeoverTime {
			return result, cmp.Or(err, lookErr)
		}
		before = count
	}
}

// lookAtFormer notes which of another charm's runners are there.
func (s *session) lookAtFormer(ctx context.Context, fleet unit.Fleet) error {
	if fleet.Former == nil {
		return nil
	}
	left, err := fleet.Former.Look(ctx)
	s.former = left
	return err
}

// flushFormer removes another charm's runners as a flush does ours, and returns
// how many are gone. Where ours could not be flushed, as without GitHub, it only
// looks.
func (s *session) flushFormer(ctx context.Context, fleet unit.Fleet, mode runner.FlushMode, flushed bool) (int, error) {
	if fleet.Former == nil || !flushed {
		return 0, s.lookAtFormer(ctx, fleet)
	}
	if mode.RemovesBusy() {
		removed, _, err := fleet.Former.RemoveAll(ctx)
		return removed, errors.Join(err, s.lookAtFormer(ctx, fleet))
	}
	if err := s.lookAtFormer(ctx, fleet); err != nil {
		return 0, err
	}
	before := len(s.former.Names())
	left, err := fleet.Former.Release(ctx, len(s.former.Free))
	if err != nil {
		return 0, err
	}
	s.former = left
	return before - len(left.Names()), nil
}

// retireFormer removes all of another charm's runners, and what they left.
func (s *session) retireFormer(ctx context.Context, fleet unit.Fleet) error {
	if fleet.Former == nil {
		return nil
	}
	_, left, err := fleet.Former.RemoveAll(ctx)
	for _, name := range left {
		s.Log.WithField("runner", name).Warn("GitHub still holds the registration; it removes it by itself within a day")
	}
	return errors.Join(err, fleet.Former.Tidy(ctx))
}
