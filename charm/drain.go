package charm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
)

// drainRunners lets the unit's runners come to their end and makes none in their
// place, or makes them again. Either is remembered before anything is done, so that
// what can't be done now is done by the next hook.
func (c *Charm) drainRunners(ctx context.Context) error {
	params, err := c.Operator.ActionParams(ctx)
	if err != nil {
		return err
	}
	resume, err := flagOf(params, "resume")
	if err != nil {
		return err
	}
	return c.with(ctx, func(s *session) error {
		if err := s.usable(); err != nil {
			return err
		}
		mark := s.Drain
		if resume {
			mark = s.Resume
		}
		if err := mark(); err != nil {
			return err
		}
		return s.settleAfterMark(ctx)
	})
}

// settleAfterMark reconciles without waiting for jobs to end or runners to start.
func (s *session) settleAfterMark(ctx context.Context) error {
	fleet, err := s.appliedFleet(ctx)
	if err != nil {
		return err
	}
	defer fleet.Close()
	if s.Drained() {
		s.progress(ctx)("draining: removing idle runners")
	}
	_, err = s.flushFormer(ctx, fleet, runner.FlushIdle, s.Drained())
	var result runner.Result
	if err == nil {
		result, err = s.reconcileAtOnce(ctx, fleet)
	}
	results := s.reconcileResults(result)
	results["drained"] = strconv.FormatBool(s.Drained())
	if left := runnersLeft(result.View); s.Drained() && left != "" {
		results["runners-left"] = left
	}
	warnings := append(s.warnings(), result.Warnings...)
	if err != nil {
		warnings = append(warnings, "not everything could be done now, the next hook goes on: "+oneLine(err.Error()))
	}
	warn(results, warnings)
	return errors.Join(s.Operator.SetActionResults(ctx, results), s.showOutcome(ctx, result, err))
}

// runnersLeft names those whose machines are there and stay, if any. What can't be seen
// must not look like none to who removes the unit next.
func runnersLeft(view runner.View) string {
	if view.Now.IsZero() {
		return "unknown"
	}
	return strings.Join(view.Staying(), ", ")
}

// flagOf is a parameter of an action that is true or false; false where it is not
// given.
func flagOf(params map[string]any, name string) (bool, error) {
	value, given := params[name]
	if !given {
		return false, nil
	}
	flag, ok := value.(bool)
	if !ok {
		return false, fmt.Errorf("parameter %s is %v: it must be true or false", name, value)
	}
	return flag, nil
}

// howToResume is what to run to have runners again.
func (s *session) howToResume() string {
	return "juju run " + s.owner.Unit + " drain-runners resume=true starts runners again"
}

// orDrained is how a unit appears that may be drained: in the words and the status
// by which other charms show a unit that their operator has paused, unless there is
// trouble.
func (s *session) orDrained(look appearance, view runner.View, trouble error) appearance {
	if !s.Drained() {
		return look
	}
	parts := []string{"drained"}
	_, shown := census(view)
	parts = append(parts, shown...)
	if looked := !view.Now.IsZero(); looked && len(shown) == 0 && len(s.former.Names()) == 0 {
		parts = append(parts, "no runner is left")
	}
	drained := strings.Join(parts, ", ") + "; " + s.howToResume()
	if trouble != nil {
		look.message += "; " + drained
		return look
	}
	return appearance{juju.Maintenance, drained}
}
