package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// execute runs the steps, creates and removals side by side, and tells what came
// of them. One failure stops nothing else; what it means for the next round is
// remembered.
func (r *reconcile) execute(ctx context.Context, steps []Step) {
	// In the order of the plan, whatever ends first.
	deeds := make([]deed, len(steps))
	carryOut := func(i int) error {
		deeds[i] = r.carryOut(ctx, steps[i])
		return nil
	}
	var creates, removals errgroup.Group
	creates.SetLimit(r.cfg.Limits.Creates)
	removals.SetLimit(r.cfg.Limits.Deletes)
	var all errgroup.Group
	all.Go(func() error {
		for i, step := range steps {
			if step.Do != DoCreate {
				removals.Go(func() error { return carryOut(i) })
			}
		}
		return removals.Wait()
	})
	for i, step := range steps {
		if step.Do == DoCreate {
			creates.Go(func() error { return carryOut(i) })
		}
	}
	_ = creates.Wait()
	_ = all.Wait()
	r.report(slices.DeleteFunc(deeds, func(d deed) bool { return d.name == "" }))
}

// carryOut does one step and notes how it went. Where there is no more time for
// it, nothing is done, and the deed has no name.
func (r *reconcile) carryOut(ctx context.Context, step Step) deed {
	if ctx.Err() != nil {
		return deed{}
	}
	began := time.Now()
	name := step.Runner.Name
	var err error
	switch step.Do {
	case DoCreate:
		err = r.create(ctx, name)
		r.created(ctx, name, err)
	case DoRelease:
		err = r.release(ctx, step.Runner)
	case DoRemove:
		err = r.remove(ctx, step.Runner)
	case DoDeregister:
		err = r.deregister(ctx, step.Runner)
	}
	did := deed{step: step, name: name, took: time.Since(began), err: err}
	did.detail(r.cfg.Log)
	if err != nil && !errors.Is(err, ErrBusy) && step.Do != DoCreate {
		r.note(func() {
			failure := fmt.Errorf("cannot %s %s: %w", step.Do, name, err)
			r.failures = append(r.failures, failure)
			this := try(step.Do, name)
			r.tried[this] = attempt{at: r.tried[this].at, err: failure, run: r.number}
		})
	}
	return did
}

// note runs f while no other step changes the manager's notes.
func (m *Manager) note(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// create registers and creates one runner. Where it fails, the registration
// goes.
func (r *reconcile) create(ctx context.Context, name string) error {
	application, err := r.application(ctx)
	if err != nil {
		return err
	}
	template := r.template
	template.Want.Application = application
	registration, jit, err := r.cfg.GitHub.Register(ctx, r.want.Scope, Request{Name: name, Group: r.want.Group, Labels: r.want.Labels})
	if err != nil {
		return err
	}
	err = r.cfg.Cloud.Create(ctx, template, Birth{Name: name, Scope: r.want.Scope, RunnerID: registration.ID, JIT: jit})
	if err != nil {
		r.undo(ctx, name, registration)
	}
	return err
}

// undo takes the registration from a runner whose creation has failed. Its
// machine may run all the same, and even be at work: it goes as that of any other
// runner that was deregistered.
func (r *reconcile) undo(ctx context.Context, name string, registration Registration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Limits.Undo)
	defer cancel()
	log := r.cfg.Log.WithField("runner", name)
	switch err := r.cfg.GitHub.Deregister(ctx, r.want.Scope, registration.ID); {
	case err == nil:
		r.note(func() { r.memory.set(signDeregistered, name, time.Now()) })
	case errors.Is(err, ErrBusy):
		log.Info("the runner that could not be created has a job all the same: it stays")
	default:
		log.WithError(err).Warn("cannot undo a failed create yet: the next reconcile will")
	}
}

// fails notes, with the notes held, that a runner could not be had, and ends
// creating for this run. Failures that differ in the runner's name alone are one.
func (r *reconcile) fails(name, kind, reason string, err error) {
	r.held = true
	r.once(name, err)
	r.setBack(kind, reason, time.Now())
}

// once notes a failure, with the notes held, unless it was noted already.
func (r *reconcile) once(name string, err error) {
	anonymous := err.Error()
	if name != "" {
		anonymous = strings.ReplaceAll(anonymous, name, "")
	}
	if !r.failed[anonymous] {
		r.failed[anonymous] = true
		r.failures = append(r.failures, err)
	}
}

// setBack remembers a failure. What began side by side and failed together is
// one failure: each wave of creates counts each kind once.
func (r *reconcile) setBack(kind, reason string, now time.Time) {
	counted, before := r.setback[kind]
	if _, remembered := r.memory.Setbacks[kind]; !before || counted < r.wave || !remembered {
		r.setback[kind] = r.wave
		r.memory.fail(kind, reason, now)
		return
	}
	setback := r.memory.Setbacks[kind]
	setback.Reason = reason
	r.memory.Setbacks[kind] = setback
}

// created notes how a create went. One that was called off is no failure.
func (r *reconcile) created(ctx context.Context, name string, err error) {
	r.note(func() {
		if err == nil {
			r.born[name] = true
			r.memory.set(signBorn, name, time.Now())
			r.result.Created++
			r.memory.overcome(failQuota, failNotFound, failUnauthorized, failInvalid, failTransient)
			return
		}
		if ctx.Err() == nil {
			r.fails(name, failureKind(err), err.Error(), err)
		}
	})
}

// release deregisters a runner that might be idle; ErrBusy means it is not. Its
// machine goes once it has been seen to be quiet.
func (r *reconcile) release(ctx context.Context, runner Info) error {
	if runner.Verdict == Lost {
		r.failedStart(ctx, runner)
	}
	if err := r.deregister(ctx, runner); err != nil {
		return err
	}
	r.note(func() { r.memory.set(signDeregistered, runner.Name, time.Now()) })
	return nil
}

// failedStart collects from a runner that never came online while it is still
// there to be asked.
func (r *reconcile) failedStart(ctx context.Context, runner Info) {
	remains := r.collect(ctx, runner)
	if runner.FailedStart {
		r.startFailed(runner, remains, "did not come online in time")
	}
}

func (r *reconcile) startFailed(runner Info, remains Remains, how string) {
	reason := fmt.Sprintf("runner %s %s", runner.Name, how)
	switch {
	case runner.Fault != "":
		reason = fmt.Sprintf("runner %s was given up by the cloud: %s", runner.Name, strings.TrimSuffix(runner.Fault, "."))
		r.cfg.Log.WithField("runner", runner.Name).Warn("the cloud gave the runner up: " + runner.Fault)
	case remains.LastLines != "":
		r.cfg.Log.WithField("runner", runner.Name).Warn("the runner's last words: " + remains.LastLines)
		reason += "; it left: " + ending(remains.LastLines)
	}
	r.note(func() {
		if r.blamed[runner.Name] {
			// Its start was counted when it was seen to have failed.
			r.setback[failStart] = r.wave
		}
		r.fails(runner.Name, failStart, reason, Trouble{Advice: reason, Err: ErrFailedStart})
	})
}

// telling are words of lines that say what went wrong.
var telling = regexp.MustCompile(`(?i)fail|error|cannot|can't|denied|too many|no space|refused|timed? ?out`)

// ending returns the last lines of a text that say what went wrong, or else its
// last lines, as many as a status has room for.
func ending(text string) string {
	const room = 160
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if told := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !telling.MatchString(line) }); len(told) > 0 {
		lines = told
	}
	first, length := len(lines)-1, 0
	for ; first >= 0; first-- {
		length += len(lines[first]) + 1
		if length > room {
			break
		}
	}
	return strings.Join(lines[min(first+1, len(lines)-1):], "\n")
}

// remove collects what a runner left, deletes its machine, then deregisters it.
func (r *reconcile) remove(ctx context.Context, runner Info) error {
	remains, left, err := r.discard(ctx, runner)
	if err != nil {
		return err
	}
	if left {
		r.cfg.Log.WithField("runner", runner.Name).Info("GitHub still holds the registration: tried again at every reconcile")
	}
	failed := runner.FailedStart || runner.Completed && !runner.TookJob && runner.Registration.ID != 0
	if failed {
		r.startFailed(runner, remains, "ended without taking a job")
	}
	// Not every cloud tells who took a job; GitHub knows of one that it has not let go.
	tookJob := runner.TookJob || runner.Registration.Busy
	r.note(func() {
		r.result.Removed++
		if tookJob && remains.PostJob == nil || failed {
			r.result.Crashed++
		}
	})
	return nil
}

// discard collects from a runner, deletes its machine and then deregisters it.
// It reports whether GitHub still holds the registration: for as long as 15
// minutes it believes in the job of a machine that is gone.
func (m *Manager) discard(ctx context.Context, runner Info) (remains Remains, left bool, err error) {
	if !m.leftNothing(runner) {
		remains = m.collect(ctx, runner)
	}
	if err := m.cfg.Cloud.Delete(ctx, runner.Name); err != nil {
		return remains, false, err
	}
	m.note(func() { m.memory.set(signDeleted, runner.Name, time.Now()) })
	if m.cfg.Journal != nil {
		// Also of traces: who was called off in the middle has not told of them yet,
		// and what was told of has left none.
		came, _ := m.recall(signOnline, runner.Name)
		m.cfg.Journal.Ended(ctx, runner, remains, came)
	}
	if runner.Gone {
		return remains, false, nil
	}
	if err := m.deregister(ctx, runner); err != nil {
		m.cfg.Log.WithError(err).WithField("runner", runner.Name).Debug("cannot deregister yet")
		return remains, true, nil
	}
	return remains, false, nil
}

// leftNothing reports whether a runner was idle to its end, as far as anybody knows, in
// a machine that it costs a connection to look into: with a thousand of them, that
// would decide on how long their removal takes. Where the files are at hand they are
// read all the same, for GitHub tells late of a job that has just begun.
func (m *Manager) leftNothing(runner Info) bool {
	if _, costs := m.cfg.Cloud.(Inspector); !costs || runner.TookJob {
		return false
	}
	_, wasOnline := m.recall(signOnline, runner.Name)
	_, byUs := m.recall(signDeregistered, runner.Name)
	seen := runner.Working == WorkingNo || runner.Working == WorkingUnseen
	return runner.Verdict == Idle || runner.Verdict == Finishing && wasOnline && byUs && seen
}

// recall is when a sign of a name was first seen, also while steps run.
func (m *Manager) recall(s sign, name string) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.memory.when(s, name)
}

// collect fetches what a runner left. A runner that leaves nothing readable is
// removed all the same.
func (m *Manager) collect(ctx context.Context, runner Info) Remains {
	remains, err := m.cfg.Cloud.Collect(ctx, runner.Name, m.cfg.LogDir(runner.Name))
	if err != nil {
		m.cfg.Log.WithError(err).WithField("runner", runner.Name).Warn("cannot collect what a runner left")
	}
	return remains
}

// deregister trusts GitHub's word for the id before the instance's metadata.
func (m *Manager) deregister(ctx context.Context, runner Info) error {
	id := cmp.Or(runner.Registration.ID, runner.RunnerID)
	if id == 0 {
		return nil
	}
	return m.cfg.GitHub.Deregister(ctx, runner.Scope, id)
}

func isNotFound(err error) bool {
	return errors.Is(err, ErrNotFound)
}
