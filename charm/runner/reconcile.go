package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// fallbackBootDeadline judges runners while no template could be prepared: the
// longest of all clouds.
const fallbackBootDeadline = 20 * time.Minute

// coalesce is how long a burst of events may gather before the world is looked
// at again.
const coalesce = 100 * time.Millisecond

// reconcile is one run of Reconcile.
type reconcile struct {
	*Manager
	number   int // of the manager's runs, from 1
	want     Want
	wait     bool
	template Template
	prepared bool // the template is one that runners can be made from
	events   <-chan struct{}

	application func(context.Context) (Application, error)
	ready       func(context.Context) error
	born        map[string]bool
	tried       map[string]attempt // what was done to whom in this run
	retry       time.Duration      // after how long it is done again; 0: never in this run
	held        bool               // no more creating in this run
	wave        int                // which wave of creates this is
	setback     map[string]int     // in which wave each kind of failure was counted last
	blamed      map[string]bool    // runners whose failed start was counted
	failed      map[string]bool    // failures that have been noted, without names
	first       bool
	result      Result
	failures    []error
	view        View
}

func (m *Manager) begin(ctx context.Context, want Want, wait bool) *reconcile {
	r := m.newReconcile(want, wait)
	r.prepare(ctx)
	events, err := m.cfg.Cloud.Watch(ctx)
	if err != nil {
		m.cfg.Log.WithError(err).Debug("no events from the cloud: looking at it again and again instead")
	}
	r.events = events
	return r
}

func (m *Manager) newReconcile(want Want, wait bool) *reconcile {
	m.runs++
	r := &reconcile{Manager: m, number: m.runs, want: want, wait: wait, born: map[string]bool{}, tried: map[string]attempt{}, setback: map[string]int{}, blamed: map[string]bool{}, failed: map[string]bool{}, first: true}
	r.result.Wanted = want.Count
	ready := sync1(func(ctx context.Context) (bool, error) {
		return true, m.cfg.GitHub.Ready(ctx, want.Scope, want.Group)
	})
	r.ready = func(ctx context.Context) error {
		_, err := ready(ctx)
		return err
	}
	r.application = sync1(func(ctx context.Context) (Application, error) {
		return m.cfg.Application(ctx, want.Scope)
	})
	return r
}

// prepare makes what runners need. It does so where none is wanted, too: those
// that are still busy stay shut off from what they may not reach.
func (r *reconcile) prepare(ctx context.Context) {
	template, err := r.cfg.Cloud.Prepare(ctx, r.want)
	r.prepared = err == nil
	switch {
	case err == nil:
		r.template = template
	case r.want.Count > 0:
		r.held = true
		r.failures = append(r.failures, err)
	default:
		r.cfg.Log.WithError(err).Warn("cannot look after what runners need; none is wanted")
	}
	r.template.Want = r.want
	r.template.BootDeadline = cmp.Or(r.template.BootDeadline, fallbackBootDeadline)
}

// run looks and acts until there is nothing to do and nothing to wait for.
func (r *reconcile) run(ctx context.Context) error {
	for {
		steps, err := r.round(ctx)
		if err != nil {
			return errors.Join(append(r.failures, err)...)
		}
		if len(steps) > 0 {
			continue
		}
		pause, pending := r.pending()
		if !pending {
			return errors.Join(append(r.failures, r.heldBack())...)
		}
		if err := r.pause(ctx, pause); err != nil {
			// Those that are still starting do so without being watched.
			r.cfg.Log.WithField("starting", r.view.Count(Starting)).Info("runners are still starting: the next reconcile looks at them again")
			return errors.Join(r.failures...)
		}
	}
}

// round is one look at the world and all that follows from it at once.
func (r *reconcile) round(ctx context.Context) ([]Step, error) {
	world, err := r.look(ctx, r.want.Scope, nil)
	if err != nil {
		return nil, err
	}
	r.judge(world)
	if away := world.Away[r.want.Scope]; away != nil && r.first {
		r.failures = append(r.failures, away)
	}
	r.first = false
	steps := r.affordable(r.replaceable(ctx, plan(r.view, r.want, r.memory, r.cfg.Limits)))
	r.announce(steps)
	r.execute(ctx, steps)
	r.save()
	return steps, ctx.Err()
}

// judge updates the view and what is remembered.
func (r *reconcile) judge(world World) {
	before := r.memory
	r.view, r.memory = observe(world, r.cfg.Owner, r.template, r.memory, r.cfg.Limits)
	for i, runner := range r.view.Runners {
		if r.born[runner.Name] && runner.Hash != r.template.Hash && runner.Outdated {
			// Replacing it would go on for ever.
			r.view.Runners[i].Outdated = false
			if !r.held {
				r.held = true
				r.failures = append(r.failures, fmt.Errorf("cannot trust the cloud: new runner %s reads back as made from another template (%s instead of %s)", runner.Name, runner.Hash, r.template.Hash))
			}
		}
		if runner.FailedStart && !r.blamed[runner.Name] {
			// Now, so that this round's plan knows.
			r.blamed[runner.Name] = true
			r.setBack(failStart, runner.Name+" did not start", world.Now)
		}
		if r.memory.refutes(runner) && runner.Hash == r.template.Hash {
			r.memory.overcome(failStart)
		}
	}
	r.welcome(r.view, before)
	if r.first {
		r.result.Delta = r.want.Count - r.view.counted()
	}
	r.result.View = r.view
	online := r.view.Count(Idle, Busy)
	if r.cfg.Progress != nil && r.view.Count(Starting) > 0 {
		r.cfg.Progress(fmt.Sprintf("starting runners %d/%d", online, r.want.Count))
	}
}

// heldBack is the error of a run that created fewer than it should, because of
// what went wrong in runs before.
func (r *reconcile) heldBack() error {
	kind, found := r.memory.lastKind()
	if !found || len(r.failures) > 0 || r.view.counted() >= r.want.Count {
		return nil
	}
	err := ErrBackingOff
	if cause := kindError(kind); cause != nil {
		err = fmt.Errorf("%w after %w", err, cause)
	}
	return Trouble{Advice: r.memory.Setbacks[kind].Reason, Err: err}
}

// replaceable drops the release of runners that are merely outdated when none
// could be registered in their place: a mistyped group must not cost a runner
// that works.
func (r *reconcile) replaceable(ctx context.Context, steps []Step) []Step {
	outdated := func(step Step) bool { return step.Reason == reasonOutdated }
	if !slices.ContainsFunc(steps, outdated) {
		return steps
	}
	err := r.ready(ctx)
	if err == nil {
		return steps
	}
	r.note(func() {
		r.held = true
		r.once("", err)
	})
	return slices.DeleteFunc(steps, outdated)
}

// affordable drops the creates of a run in which creating has failed, and what
// the run has tried before: trying again at once would be a busy loop.
func (r *reconcile) affordable(steps []Step) []Step {
	var kept []Step
	for _, step := range steps {
		if step.Do == DoCreate {
			if !r.held {
				// A fresh name per attempt: a lost answer means "maybe created".
				step.Runner.Name = r.cfg.Owner.NewName()
				kept = append(kept, step)
			}
			continue
		}
		this := try(step.Do, step.Runner.Name)
		last, before := r.tried[this]
		if before && (r.retry == 0 || time.Since(last.at) < r.retry) {
			r.stillFails(this, last)
			continue
		}
		r.tried[this] = attempt{at: time.Now(), run: r.number}
		kept = append(kept, step)
	}
	return kept
}

// attempt is a step that was begun.
type attempt struct {
	at time.Time
	// err is why it failed, if it did, and run the number of the run that has said
	// so last.
	err error
	run int
}

// stillFails says once in each run what failed in one before, and is not tried
// again yet.
func (r *reconcile) stillFails(this string, last attempt) {
	if last.err == nil || last.run == r.number {
		return
	}
	last.run = r.number
	r.tried[this] = last
	r.failures = append(r.failures, last.err)
}

func try(do Do, name string) string {
	return string(do) + " " + name
}

// pending reports whether there is something to wait for, and for how long at
// most until the world is looked at again.
func (r *reconcile) pending() (time.Duration, bool) {
	if r.wait && r.view.Count(Starting) > 0 {
		return r.cfg.Limits.poll(len(r.view.Runners)), true
	}
	for _, runner := range r.view.Runners {
		quiet := runner.Verdict == Finishing && runner.Working == WorkingNo
		if _, before := r.tried[try(DoRemove, runner.Name)]; !quiet || before {
			continue
		}
		if deregistered, ok := r.memory.when(signDeregistered, runner.Name); ok {
			return min(r.cfg.Limits.Poll, max(r.cfg.Limits.Settle-time.Since(deregistered), time.Millisecond)), true
		}
	}
	return 0, false
}

// pause waits for an event, but no longer than so long.
func (r *reconcile) pause(ctx context.Context, longest time.Duration) error {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	case _, ok := <-r.events:
		if !ok {
			r.events = nil
		}
	}
	timer.Reset(coalesce)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (r *reconcile) finish() Result {
	r.result.Warnings = append(r.stuck(), r.warnings()...)
	r.result.Held = Setback{}
	if setback, found := r.memory.lastSetback(); found && setback.Until.After(time.Now()) {
		r.result.Held = setback
	}
	return r.result
}

// stuck lists the machines that do not come to their end.
func (r *reconcile) stuck() []string {
	var texts []string
	for _, runner := range r.view.Runners {
		age := r.view.Now.Sub(runner.Since)
		switch {
		case runner.Verdict == Finishing && age > r.cfg.Limits.StuckFinishing:
			texts = append(texts, fmt.Sprintf("runner %s has been finishing for %s: its registration is gone, and something still works in it; where that is no job, the action flush-runners mode=flush-busy removes it, and all busy runners with it", runner.Name, age.Round(time.Minute)))
		case runner.Verdict == Deleting && age > r.cfg.Limits.StuckDeleting:
			texts = append(texts, fmt.Sprintf("instance %s has been deleting for %s: its cloud does not end it", runner.Name, age.Round(time.Minute)))
		}
	}
	return texts
}

// warnings lists what else needs a person, in the view as it is.
func (r *reconcile) warnings() []string {
	texts := slices.Clone(r.template.Warnings)
	limits := r.cfg.Limits
	for _, runner := range append(r.view.Runners, r.view.Orphans...) {
		age := r.view.Now.Sub(runner.Since)
		switch {
		case runner.Verdict == Foreign:
			texts = append(texts, fmt.Sprintf("instance %s has the name of a runner of this unit, but was not made by it: left alone", runner.Name))
		case runner.Verdict == Orphan && age > limits.StuckRegistration:
			texts = append(texts, fmt.Sprintf("GitHub has kept the registration of %s for %s after its machine went", runner.Name, age.Round(time.Minute)))
		}
	}
	for scope, err := range r.view.Away {
		if scope != r.want.Scope {
			texts = append(texts, fmt.Sprintf("runners may still be registered at %s, which can't be listed: %v", scope, err))
		}
	}
	return texts
}
