package charm

import (
	"context"
	"fmt"

	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
)

// move notes where the configuration wants the runners on another cloud than they are
// on. Until the last of them has gone the state in force is the one that they were
// made by, with none wanted: nobody else could look after those that are busy.
func (s *session) move() {
	applied, ok := s.LastApplied()
	if !ok || applied.OnOpenStack() == s.wanted.OnOpenStack() {
		return
	}
	s.next, s.wanted = s.wanted, applied
	s.wanted.Count, s.wanted.Warnings = 0, nil
	s.moving = true
}

// moveNote says what the unit waits for; "" where it is on the cloud that it should
// be on.
func (s *session) moveNote() string {
	if !s.moving {
		return ""
	}
	return fmt.Sprintf("the runners move to %s once those on %s have ended", cloudOf(s.next), cloudOf(s.wanted))
}

func cloudOf(s state.CharmState) string {
	if s.OnOpenStack() {
		return "OpenStack"
	}
	return "LXD"
}

// neverThere reports whether the unit is on its way from a cloud where no runner can ever
// have been made. Nothing is installed there to look for some.
func (s *session) neverThere(fleet unit.Fleet) bool {
	return s.moving && fleet.Host != nil && !fleet.Host.Installed()
}

// goOn puts the state in force that the runners were to leave their cloud for.
func (s *session) goOn() {
	s.Log.Infof("the runners move from %s to %s", cloudOf(s.wanted), cloudOf(s.next))
	s.wanted, s.next, s.moving = s.next, state.CharmState{}, false
}

// leave removes what the runners used on the cloud that they were on, once none is
// left, and reports whether the unit is free to go on.
func (s *session) leave(ctx context.Context, fleet unit.Fleet, view runner.View) (left bool, err error) {
	if !s.moving {
		return false, nil
	}
	for _, r := range view.Runners {
		if r.Verdict != runner.Foreign {
			return false, nil
		}
	}
	if _, err := fleet.Manager.Retire(ctx, s.wanted.Scope); err != nil {
		return false, err
	}
	if fleet.Images != nil {
		if err := fleet.Images.Retire(ctx); err != nil {
			return false, err
		}
	}
	s.goOn()
	return true, nil
}
