package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// FlushMode says which runners a flush removes.
type FlushMode string

// The five flush modes.
const (
	FlushIdle               FlushMode = "flush-idle"
	FlushIdleWaitRepoCheck  FlushMode = "flush-idle-wait-repo-check"
	FlushBusy               FlushMode = "flush-busy"
	FlushBusyWaitRepoCheck  FlushMode = "flush-busy-wait-repo-check"
	ForceFlushWaitRepoCheck FlushMode = "force-flush-wait-repo-check"
)

// flushRule is what one mode does.
type flushRule struct {
	waits bool // for the pre-job scripts of busy runners
	busy  bool // busy runners are removed
	force bool // also without GitHub
}

func flushRules() map[FlushMode]flushRule {
	return map[FlushMode]flushRule{
		FlushIdle:               {},
		FlushIdleWaitRepoCheck:  {waits: true},
		FlushBusy:               {busy: true},
		FlushBusyWaitRepoCheck:  {waits: true, busy: true},
		ForceFlushWaitRepoCheck: {waits: true, busy: true, force: true},
	}
}

// ParseFlushMode returns the mode of that name; the empty name is FlushIdle.
func ParseFlushMode(name string) (FlushMode, error) {
	if name == "" {
		return FlushIdle, nil
	}
	rules := flushRules()
	if _, ok := rules[FlushMode(name)]; ok {
		return FlushMode(name), nil
	}
	var names []string
	for mode := range rules {
		names = append(names, string(mode))
	}
	slices.Sort(names)
	return "", fmt.Errorf("cannot flush with mode %q: it must be one of %s", name, strings.Join(names, ", "))
}

// RemovesBusy reports whether a flush of this mode ends jobs.
func (m FlushMode) RemovesBusy() bool {
	return flushRules()[m].busy
}

// FlushResult says what a flush did.
type FlushResult struct {
	// Flushed is how many runners it removed, or let go of where their machines
	// end by themselves.
	Flushed int
	// SkippedBusy are the runners left because they are busy.
	SkippedBusy []string
	// Failed are the runners that could not be removed.
	Failed []string
	// RegistrationsLeft are the runners whose machine is gone and whose
	// registration GitHub still holds; each reconcile tries them again.
	RegistrationsLeft []string
	// PreJobTimeout is set when runners were still before the end of their
	// pre-job script when the wait ended.
	PreJobTimeout bool
}

// Flush removes runners as the mode says. It does not replace them: that is the
// next reconcile's.
func (m *Manager) Flush(ctx context.Context, scope Scope, mode FlushMode) (FlushResult, error) {
	rule, ok := flushRules()[mode]
	if !ok {
		return FlushResult{}, fmt.Errorf("cannot flush with unknown mode %q", mode)
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Limits.Reconcile)
	defer cancel()
	f := &flush{Manager: m, scope: scope, mode: mode, rule: rule, tally: newTally()}
	began := time.Now()
	err := f.run(ctx)
	f.summarise(time.Since(began))
	if left := sortedKeys(f.tally.left); len(left) > 0 {
		m.cfg.Log.Infof("GitHub still holds registrations, which each reconcile tries again: %s", list(left))
	}
	m.save()
	return f.result(), err
}

// flush is one run of Flush.
type flush struct {
	*Manager
	scope Scope
	mode  FlushMode
	rule  flushRule
	tally tally
}

// tally collects what happened to runners from many goroutines.
type tally struct {
	mu            sync.Mutex
	removed       map[string]bool
	released      map[string]bool // deregistered; the machine is on its way out
	busy          map[string]bool
	failed        map[string]error
	left          map[string]bool
	preJobTimeout bool
}

func newTally() tally {
	return tally{removed: map[string]bool{}, released: map[string]bool{}, busy: map[string]bool{}, failed: map[string]error{}, left: map[string]bool{}}
}

func (t *tally) note(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

func (f *flush) run(ctx context.Context) error {
	view, err := f.see(ctx, f.scope)
	if err != nil {
		return err
	}
	f.cfg.Log.Infof("%s: %s", f.mode, view.crew())
	if away := view.Away[f.scope]; away != nil && !f.rule.force {
		return fmt.Errorf("cannot flush without GitHub (only mode %s can): %w", ForceFlushWaitRepoCheck, away)
	}
	if !f.rule.busy {
		f.spare(view)
	}
	f.releaseFree(ctx, view)
	if f.rule.waits {
		if err := f.awaitPreJobs(ctx); err != nil {
			return err
		}
	}
	if err := f.removeQuiet(ctx); err != nil {
		return err
	}
	if f.rule.busy {
		return f.removeBusy(ctx)
	}
	return ctx.Err()
}

// see looks at the world and remembers what it saw.
func (m *Manager) see(ctx context.Context, scope Scope) (View, error) {
	view, memory, err := m.glance(ctx, scope)
	if err != nil {
		return View{}, err
	}
	before := m.memory
	m.memory = memory
	m.welcome(view, before)
	return view, nil
}

// glance looks at the world and judges it, without a template.
func (m *Manager) glance(ctx context.Context, scope Scope) (View, Memory, error) {
	world, err := m.look(ctx, scope, nil)
	if err != nil {
		return View{}, Memory{}, err
	}
	template := Template{BootDeadline: fallbackBootDeadline, Want: Want{Scope: scope}}
	view, memory := observe(world, m.cfg.Owner, template, m.memory, m.cfg.Limits)
	return view, memory, nil
}

// spare notes the runners that the mode leaves because they are busy.
func (f *flush) spare(view View) {
	for _, r := range view.Runners {
		if r.Verdict == Busy {
			f.tally.busy[r.Name] = true
		}
	}
}

// releaseFree deregisters every runner that might be idle.
func (f *flush) releaseFree(ctx context.Context, view View) {
	f.each(ctx, view, []Verdict{Starting, Idle, Lost}, func(ctx context.Context, r Info) error {
		err := f.deregister(ctx, r)
		switch {
		case errors.Is(err, ErrBusy):
			return err
		case err != nil && !f.rule.force:
			return err
		case err != nil:
			return nil // the instance goes all the same, below
		}
		f.Manager.note(func() { f.memory.set(signDeregistered, r.Name, time.Now()) })
		f.tally.note(func() { f.tally.released[r.Name] = true })
		return nil
	})
}

// awaitPreJobs waits until no busy runner is before the end of its pre-job
// script, for as long as the limit says and no longer. It looks again after each
// wait: GitHub tells late that a runner is busy.
func (f *flush) awaitPreJobs(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, f.cfg.Limits.PreJob)
	defer cancel()
	over := map[string]bool{}
	for {
		view, err := f.see(ctx, f.scope)
		if err != nil {
			return err
		}
		f.lookIntoUnknown(waiting, view)
		var before []string
		for _, r := range view.Runners {
			if f.inPreJob(r) && !over[r.Name] {
				before = append(before, r.Name)
			}
		}
		if len(before) == 0 {
			return nil
		}
		if f.cfg.Progress != nil {
			f.cfg.Progress(fmt.Sprintf("waiting for the pre-job scripts of %s", number(len(before))))
		}
		var waits errgroup.Group
		for _, name := range before {
			over[name] = true
			waits.Go(func() error { return f.awaitPreJob(waiting, name) })
		}
		if err := waits.Wait(); err != nil {
			f.tally.note(func() { f.tally.preJobTimeout = true })
			f.cfg.Log.WithError(err).Warn("going on before every pre-job script has ended")
			return ctx.Err()
		}
	}
}

// lookIntoUnknown finds out what works in the runners that GitHub can't be asked about.
func (f *flush) lookIntoUnknown(ctx context.Context, view View) {
	var unknown []*Instance
	for i, r := range view.Runners {
		if r.Verdict == Unknown {
			unknown = append(unknown, &view.Runners[i].Instance)
		}
	}
	f.lookInto(ctx, unknown)
}

// inPreJob reports whether a runner may be in its pre-job script.
func (f *flush) inPreJob(r Info) bool {
	// GitHub's refusal to deregister it says more than its list.
	atWork := r.Verdict == Busy || f.tally.busy[r.Name] || (r.Verdict == Finishing || r.Verdict == Unknown) && r.Working == WorkingYes
	return atWork && !r.PreJobDone
}

// awaitPreJob waits for one runner. A cloud that fails to wait is asked again
// until there is no time left.
func (f *flush) awaitPreJob(ctx context.Context, name string) error {
	for {
		err := f.cfg.Cloud.PreJobDone(ctx, name)
		if err == nil || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(f.cfg.Limits.Poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// removeQuiet removes the runners that were deregistered, once they have been
// seen to be quiet for the settling time, and what was dead before.
func (f *flush) removeQuiet(ctx context.Context) error {
	for {
		view, err := f.see(ctx, f.scope)
		if err != nil {
			return err
		}
		var next time.Duration
		f.each(ctx, view, []Verdict{Dead, Traces, Finishing}, func(ctx context.Context, r Info) error {
			if r.Verdict != Finishing || r.Removable {
				return f.remove(ctx, r)
			}
			deregistered, byUs := f.recall(signDeregistered, r.Name)
			if !byUs {
				return nil
			}
			if r.Working == WorkingYes {
				f.tally.note(func() { delete(f.tally.released, r.Name) })
				return ErrBusy // it had taken a job after all
			}
			if r.Working == WorkingNo {
				f.tally.note(func() {
					next = max(next, f.cfg.Limits.Settle-time.Since(deregistered), time.Millisecond)
				})
			}
			return nil
		})
		if next == 0 {
			return nil
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// removeBusy removes every runner that is left: the machine first, because
// GitHub does not let a registration go while its job runs.
func (f *flush) removeBusy(ctx context.Context) error {
	view, err := f.see(ctx, f.scope)
	if err != nil {
		return err
	}
	verdicts := []Verdict{Starting, Idle, Busy, Finishing, Lost, Dead, Traces}
	if f.rule.force {
		verdicts = append(verdicts, Unknown)
	}
	f.each(ctx, view, verdicts, f.remove)
	return ctx.Err()
}

// remove removes one runner and counts it.
func (f *flush) remove(ctx context.Context, r Info) error {
	_, left, err := f.discard(ctx, r)
	if err != nil {
		return err
	}
	f.cfg.Log.WithFields(logrus.Fields{"runner": r.Name, "was": r.Verdict}).Debug("removed")
	f.tally.note(func() {
		if r.Verdict != Traces {
			f.tally.removed[r.Name] = true
		}
		delete(f.tally.released, r.Name)
		if left {
			f.tally.left[r.Name] = true
		}
	})
	return nil
}

// each does something to every runner of the verdicts, side by side, and tallies
// what failed.
func (f *flush) each(ctx context.Context, view View, verdicts []Verdict, do func(context.Context, Info) error) {
	var group errgroup.Group
	group.SetLimit(f.cfg.Limits.Deletes)
	for _, r := range view.Runners {
		if !slices.Contains(verdicts, r.Verdict) {
			continue
		}
		group.Go(func() error {
			err := do(ctx, r)
			f.tally.note(func() { f.tally.count(r.Name, err) })
			if err != nil && !errors.Is(err, ErrBusy) {
				f.cfg.Log.WithError(err).WithField("runner", r.Name).Warn("cannot flush a runner")
			}
			return nil
		})
	}
	_ = group.Wait()
}

func (t *tally) count(name string, err error) {
	delete(t.busy, name)
	delete(t.failed, name)
	switch {
	case errors.Is(err, ErrBusy):
		t.busy[name] = true
	case err != nil:
		t.failed[name] = err
	}
}

func (f *flush) result() FlushResult {
	return FlushResult{
		Flushed:           len(f.tally.removed) + len(f.tally.released),
		SkippedBusy:       sortedKeys(f.tally.busy),
		Failed:            sortedKeys(f.tally.failed),
		RegistrationsLeft: sortedKeys(f.tally.left),
		PreJobTimeout:     f.tally.preJobTimeout,
	}
}
