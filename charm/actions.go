package charm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github-runner/charm/runner"
	"github-runner/charm/unit"
)

// usable returns why an action can't be done, if there is no state to work with.
func (s *session) usable() error {
	if s.Past.Stopping {
		return errors.New("the unit is being removed")
	}
	if !s.inForce {
		return fmt.Errorf("the configuration must be mended first: %w", s.problems)
	}
	return nil
}

// warnings are what a person should know of the state in force, whatever an
// action does with it.
func (s *session) warnings() []string {
	warnings := slices.Clone(s.wanted.Warnings)
	if s.problems != nil {
		warnings = append(warnings, "the configuration is not applied: "+s.problems.Error())
	}
	if note := s.imageNote(); note != "" {
		warnings = append(warnings, note)
	}
	if s.Drained() {
		warnings = append(warnings, "the unit is drained: "+s.howToResume())
	}
	return warnings
}

// warn adds warnings to the results of an action.
func warn(results map[string]string, warnings []string) {
	if len(warnings) > 0 {
		results["warning"] = strings.Join(warnings, "; ")
	}
}

func (c *Charm) checkRunners(ctx context.Context) error {
	params, err := c.Operator.ActionParams(ctx)
	if err != nil {
		return err
	}
	explain, err := flagOf(params, "explain")
	if err != nil {
		return err
	}
	return c.with(ctx, func(s *session) error {
		if explain {
			return s.explainRunners(ctx)
		}
		if err := s.usable(); err != nil {
			return err
		}
		fleet, err := s.fleet(ctx)
		if err != nil {
			return err
		}
		defer fleet.Close()
		report, err := fleet.Manager.Check(ctx, s.wanted.Scope)
		looked := err == nil || len(report.Online)+len(report.Offline)+len(report.Unknown)+len(report.Foreign) > 0
		err = errors.Join(err, s.lookAtFormer(ctx, fleet))
		results := s.reportResults(report, looked)
		warn(results, append(s.warnings(), s.reportServices(ctx)...))
		return errors.Join(err, s.Operator.SetActionResults(ctx, results))
	})
}

func (c *Charm) reconcileRunners(ctx context.Context) error {
	return c.with(ctx, func(s *session) error {
		if err := s.usable(); err != nil {
			return err
		}
		s.Past.Setbacks = nil // the operator asks for a try now
		done, err := s.reconcile(ctx)
		if err != nil {
			return err
		}
		results := s.reconcileResults(done.Result)
		warn(results, slices.Concat(s.warnings(), done.Warnings, s.serviceNotes))
		return errors.Join(done.trouble, s.Operator.SetActionResults(ctx, results))
	})
}

func (c *Charm) flushRunners(ctx context.Context) error {
	params, err := c.Operator.ActionParams(ctx)
	if err != nil {
		return err
	}
	name, _ := params["mode"].(string)
	mode, err := runner.ParseFlushMode(name)
	if err != nil {
		return err
	}
	return c.with(ctx, func(s *session) error { return s.flush(ctx, mode) })
}

// flush removes runners and replaces them, without waiting for the new ones.
func (s *session) flush(ctx context.Context, mode runner.FlushMode) error {
	if err := s.usable(); err != nil {
		return err
	}
	fleet, err := s.appliedFleet(ctx)
	if err != nil {
		return err
	}
	defer fleet.Close()
	s.progress(ctx)("flushing runners")
	flushed, flushErr := fleet.Manager.Flush(ctx, s.wanted.Scope, mode)
	flushedFormer, err := s.flushFormer(ctx, fleet, mode, flushErr == nil)
	var result runner.Result
	if err == nil {
		result, err = s.reconcileAtOnce(ctx, fleet)
		s.tidyFormer(ctx, fleet)
	}
	results := s.reconcileResults(result)
	results["flushed"] = strconv.Itoa(flushed.Flushed + flushedFormer)
	results["skipped-busy"] = strings.Join(flushed.SkippedBusy, ", ")
	results["failed"] = strings.Join(flushed.Failed, ", ")
	results["registrations-left"] = strings.Join(flushed.RegistrationsLeft, ", ")
	warnings := s.warnings()
	if flushed.PreJobTimeout {
		warnings = append(warnings, "a pre-job script had not ended when the wait for it did")
	}
	if err != nil {
		warnings = append(warnings, "the reconcile afterwards failed: "+oneLine(err.Error()))
	}
	s.ensureServices(ctx)
	warn(results, append(warnings, s.serviceNotes...))
	return errors.Join(flushErr, s.Operator.SetActionResults(ctx, results), s.showOutcome(ctx, result, err))
}

// reconcileAtOnce reconciles without waiting for new runners, beside another
// charm's runners that were looked at before.
func (s *session) reconcileAtOnce(ctx context.Context, fleet unit.Fleet) (runner.Result, error) {
	want := s.Want(s.wanted)
	want.Count = max(0, want.Count-len(s.former.Names()))
	return fleet.Manager.Reconcile(ctx, want, false)
}

// reconcileResults are the results of an action that ends with a reconcile.
func (s *session) reconcileResults(result runner.Result) map[string]string {
	looked := !result.View.Now.IsZero()
	results := s.reportResults(result.View.Report(), looked)
	if looked {
		results["delta.virtual-machines"] = strconv.Itoa(result.Delta)
	}
	return results
}

// reportResults are the results that every action on runners has. Where nobody
// could look at the runners there are no counts: zeros would say that there are
// no runners.
func (s *session) reportResults(report runner.Report, looked bool) map[string]string {
	results := map[string]string{}
	if looked {
		results["online"] = strconv.Itoa(len(report.Online))
		results["busy"] = strconv.Itoa(len(report.Busy))
		results["offline"] = strconv.Itoa(len(report.Offline))
		results["unknown"] = strconv.Itoa(len(report.Unknown))
		results["runners"] = strings.Join(report.Online, ", ")
		results["busy-runners"] = strings.Join(report.Busy, ", ")
	}
	if len(report.Foreign) > 0 {
		results["foreign-instances"] = strings.Join(report.Foreign, ", ")
	}
	if names := s.former.Names(); len(names) > 0 {
		results["former-runners"] = strings.Join(names, ", ")
	}
	return results
}
