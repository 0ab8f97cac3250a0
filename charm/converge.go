package charm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/services"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// install prepares the machine, so that the first runners come up quickly. What
// it can't do for want of a configuration every later hook does.
func (c *Charm) install(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if s.problems != nil {
			return s.show(ctx, heldBy(s.problems))
		}
		fleet, err := s.fleet(ctx)
		if err != nil {
			return err
		}
		if err := s.installHost(ctx, fleet); err != nil {
			return s.show(ctx, statusOf(runner.Result{}, err))
		}
		return s.show(ctx, appearance{juju.Maintenance, "installed; runners come with the configuration"})
	})
}

// converge makes the runners be as the configuration wants them.
func (c *Charm) converge(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		_, err := s.reconcile(ctx)
		return err
	})
}

// with runs f while the unit is held.
func (c *Charm) with(ctx context.Context, f func(*session) error) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Release()
	return f(s)
}

// outcome is how a reconcile went.
type outcome struct {
	runner.Result
	// trouble is what could not be done. The status shows it and the next
	// reconcile tries again, so that to Juju the hook has done its work.
	trouble error
}

// reconcile applies the state in force and shows the outcome in the unit's
// status. Only what Juju should try again at once is an error.
func (s *session) reconcile(ctx context.Context) (outcome, error) {
	if !s.inForce {
		return outcome{trouble: s.problems}, s.showOutcome(ctx, runner.Result{}, nil)
	}
	if s.Past.Stopping {
		return outcome{}, s.show(ctx, appearance{juju.Maintenance, "the unit is being removed"})
	}
	s.sendCredentials(ctx)
	result, err := s.manage(ctx)
	if ctx.Err() != nil {
		return outcome{}, fmt.Errorf("cannot finish: %w", ctx.Err())
	}
	if err != nil {
		s.Log.WithError(err).Debug("not everything could be done")
		look := statusOf(result, err)
		s.Log.Warnf("%s: %s", look.status, look.message)
	}
	return outcome{result, err}, s.showOutcome(ctx, result, err)
}

// showOutcome shows how the runners are, unless the configuration is bad: that
// comes first, for nothing else is a person's to mend.
func (s *session) showOutcome(ctx context.Context, result runner.Result, err error) error {
	if s.problems != nil {
		return s.show(ctx, s.orDrained(heldBy(s.problems), result.View, s.problems))
	}
	look := s.orDrained(statusOf(result, err), result.View, err)
	notes := slices.Concat(s.wanted.Warnings, result.Warnings, s.serviceNotes)
	for _, note := range []string{s.imageNote(), s.moveNote()} {
		if note != "" {
			notes = append(notes, note)
		}
	}
	if s.agentOff {
		notes = append(notes, services.AgentOffNote)
	}
	if s.Detaching(s.wanted) {
		notes = append([]string{"storage " + s.Past.Detaching + " is being detached"}, notes...)
	}
	if s.Unwritten != nil {
		notes = append([]string{s.Unwritten.Error()}, notes...)
	}
	if left := s.former.String(); left != "" {
		notes = append([]string{"taking over: " + left}, notes...)
	}
	look.message = strings.Join(append([]string{look.message}, notes...), "; ")
	return s.show(ctx, look)
}

// manage does the work of a reconcile.
func (s *session) manage(ctx context.Context) (runner.Result, error) {
	fleet, err := s.appliedFleet(ctx)
	// Before there are runners: a job asks the policy service as soon as one is online.
	s.ensureServices(ctx)
	if err != nil {
		return runner.Result{}, err
	}
	defer fleet.Close()
	if s.neverThere(fleet) {
		s.goOn()
		return s.manage(ctx)
	}
	if err := s.installHost(ctx, fleet); err != nil {
		return runner.Result{}, err
	}
	result, err := s.keepRunners(ctx, fleet)
	if err == nil {
		var left bool
		if left, err = s.leave(ctx, fleet, result.View); left {
			return s.manage(ctx)
		}
	}
	if err == nil && s.Want(s.wanted).Count > 0 {
		// The cloud makes none on the one storage while one is on the other.
		s.leftStorage()
	}
	for _, warning := range result.Warnings {
		s.Log.Warn(warning)
	}
	if pruned := s.Dir.PruneLogs(time.Now().Add(-unitdir.LogRetention)); pruned != nil {
		s.Log.WithError(pruned).Warn("old logs stay")
	}
	s.showVersion(ctx, fleet)
	return result, err
}

// appliedFleet puts the configuration into effect and builds what it works with.
// A disk that is full must not keep dead runners on it, so that a state that
// can't be written down is said and used all the same.
func (s *session) appliedFleet(ctx context.Context) (unit.Fleet, error) {
	if err := s.apply(); err != nil {
		s.Log.WithError(err).Warn("the configuration is in effect, but could not be written down")
		s.ahead = true
	}
	return s.fleet(ctx)
}

// installHost installs what the machine lacks, from whichever hook finds it
// lacking.
func (s *session) installHost(ctx context.Context, fleet unit.Fleet) error {
	if fleet.Host == nil {
		return nil
	}
	return fleet.Host.Install(ctx, s.progress(ctx))
}

// showVersion tells Juju the version of the runner application.
func (s *session) showVersion(ctx context.Context, fleet unit.Fleet) {
	version := fleet.Version()
	if version == "" {
		return
	}
	if err := s.Operator.SetApplicationVersion(ctx, version); err != nil {
		s.Log.WithError(err).Debug("the version of the runner application could not be shown")
	}
}

// stop removes everything of the unit but its logs.
func (c *Charm) stop(ctx context.Context) error {
	dir, err := c.folder()
	if err != nil {
		return err
	}
	unended := c.stopServices(ctx, dir)
	if unended != nil {
		c.Log.WithError(unended).Warn("the runners are removed beside the unit's services")
	}
	return c.with(ctx, func(s *session) error {
		s.markStopping()
		s.progress(ctx)("removing all runners")
		if err := s.retire(ctx, true); err != nil {
			return err
		}
		if unended != nil {
			if err := c.stopServices(ctx, dir); err != nil {
				return err
			}
		}
		return s.Dir.Remove()
	})
}

// markStopping keeps all later calls from making anything.
func (s *session) markStopping() {
	s.Past.Stopping = true
	if err := s.Dir.WriteState(s.Past); err != nil {
		s.Log.WithError(err).Warn("that the unit stops could not be written down")
	}
}

// retire removes all runners and what they used, and their images where the unit goes
// for good. Registrations that GitHub holds on to are named and no reason to fail.
func (s *session) retire(ctx context.Context, forGood bool) error {
	fleet, err := s.appliedFleet(ctx)
	if err != nil {
		return err
	}
	defer fleet.Close()
	if fleet.Host != nil && !fleet.Host.Installed() {
		return nil
	}
	formerErr := s.retireFormer(ctx, fleet)
	left, err := fleet.Manager.Retire(ctx, s.wanted.Scope)
	for _, name := range left {
		s.Log.WithField("runner", name).Warn("GitHub still holds the registration; it removes it by itself within a day")
	}
	err = errors.Join(formerErr, err)
	if err == nil && forGood && fleet.Images != nil {
		err = fleet.Images.Retire(ctx)
	}
	return err
}
