package runner

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"
)

// Tending is what Tend is asked for.
type Tending struct {
	Want Want
	// Events says that something changed at the cloud, as Cloud.Watch does; nil
	// where nothing tells.
	Events <-chan struct{}
	// Yield is closed when somebody else waits for the unit: nothing new is
	// begun then, and what has not ended after Limits.Grace is called off.
	Yield <-chan struct{}
	// Jump is how far the machine's clock was set forward, or back where it is
	// negative, since the last Tend: ages are counted without it.
	Jump time.Duration
	// Fresh makes Prepare be called even where its last answer is still good.
	Fresh bool
	// Seen is told what was found, each time that the world was looked at.
	Seen func(Result)
}

// Tend makes the runners be as wanted, as Reconcile does, and never waits: while
// steps run, each event has the world looked at and planned for again, with the
// runners that a step is being done to left out of it. It returns once no step
// runs any more, with after how long it should be called again at the latest;
// zero is no reason to, before an event or the interval. Where steps follow upon
// each other without end, it begins no more of them after Limits.Turn.
//
// What Prepare answered and the runner application are kept from one Tend to the
// next.
func (m *Manager) Tend(ctx context.Context, asked Tending) (result Result, again time.Duration, err error) {
	began := time.Now()
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &tending{
		reconcile: m.newReconcile(asked.Want, true),
		last:      began.Add(m.cfg.Limits.Turn),
		asked:     asked,
		inFlight:  map[string]Info{},
		done:      make(chan deed),
		cancel:    cancel,
		creates:   make(chan struct{}, m.cfg.Limits.Creates),
		deletes:   make(chan struct{}, m.cfg.Limits.Deletes),
	}
	t.events = asked.Events
	t.retry, t.tried = m.cfg.Limits.Retry, m.triedLately()
	t.application = m.keptApplication(t.application)
	m.jump(asked)
	looking, stop := t.untilWanted(working)
	defer stop()
	t.reuse(looking)
	err = errors.Join(t.run(working, looking), ctx.Err())
	result = t.finish()
	unseen := t.yielding && result.View.Now.IsZero()
	if m.cfg.Journal != nil && !unseen && (asked.Fresh || t.acted) {
		m.cfg.Journal.Reconciled(result, time.Since(began))
	}
	if t.over {
		return result, coalesce, err
	}
	return result, t.again(), err
}

// Watch is the cloud's Watch: what it tells of is what Tend is to be called for.
func (m *Manager) Watch(ctx context.Context) (<-chan struct{}, error) {
	return m.cfg.Cloud.Watch(ctx)
}

// Recall replaces what the manager remembers by what somebody else has written
// down since.
func (m *Manager) Recall(memory Memory) {
	m.note(func() { m.memory, m.saved = memory.Clone(), memory.Clone() })
}

// jump corrects what is remembered after the clock was set. What the cloud tells
// of ages can't be corrected: for a while none is counted.
func (m *Manager) jump(asked Tending) {
	if asked.Jump == 0 {
		return
	}
	m.cfg.Log.WithField("by", asked.Jump.Round(time.Second)).Warn("the machine's clock was set: ages of runners do not count for a while")
	m.note(func() {
		m.memory.shift(asked.Jump)
		// A hook may have noted them by the new clock, and what they guard is a job.
		m.memory.restart(time.Now(), signQuiet, signDeregistered)
		m.memory.set(signAway, asked.Want.Scope.String(), time.Now())
	})
}

// tending is one run of Tend. Its fields are those of the goroutine that plans;
// what steps note they note in the manager's lock.
type tending struct {
	*reconcile
	asked    Tending
	inFlight map[string]Info
	making   int // creates among them
	done     chan deed
	cancel   context.CancelFunc
	yielding bool
	acted    bool
	// last is when the last steps may be begun, over whether they would have been
	// since.
	last time.Time
	over bool
	// heldTill is until when a create that failed keeps others from being begun,
	// though some that began with it still run.
	heldTill time.Time
	// creates and deletes hold one element for each step of the kind that runs.
	creates, deletes chan struct{}
	// lookTook is how long those who were asked took at the last look, idle how many looks in a row
	// have led to nothing.
	lookTook time.Duration
	idle     int
}

// untilWanted returns a context for what only looks or prepares: that is called
// off where it takes its time while somebody waits for the unit.
func (t *tending) untilWanted(ctx context.Context) (context.Context, context.CancelFunc) {
	looking, stop := context.WithCancel(ctx)
	go func() {
		select {
		case <-t.asked.Yield:
		case <-looking.Done():
			return
		}
		grace := time.NewTimer(t.cfg.Limits.Grace)
		defer grace.Stop()
		select {
		case <-grace.C:
			stop()
		case <-looking.Done():
		}
	}()
	return looking, stop
}

// reuse takes the last template where it is still good, and otherwise prepares.
func (t *tending) reuse(ctx context.Context) {
	if !t.asked.Fresh && t.kept.prepared != (time.Time{}) && reflect.DeepEqual(t.kept.want, t.want) {
		t.template, t.prepared = t.kept.template, true
		return
	}
	t.renew(ctx)
}

// renew prepares, and keeps the template.
func (t *tending) renew(ctx context.Context) {
	began := time.Now()
	t.prepare(ctx)
	t.kept.prepared = time.Time{}
	if t.prepared {
		t.kept.template, t.kept.want, t.kept.prepared = t.template, t.want, began
	}
}

// follow prepares anew where somebody has made a runner by another template since this
// one was prepared: what it rests on has changed.
func (t *tending) follow(ctx context.Context, instances []Instance) {
	if t.template.Hash == "" || t.kept.prepared.IsZero() {
		return
	}
	latest := t.kept.prepared
	for _, i := range instances {
		if !i.Foreign && i.Hash != "" && i.Hash != t.template.Hash && i.Created.After(latest) {
			latest = i.Created
		}
	}
	if latest.Equal(t.kept.prepared) {
		return
	}
	t.renew(ctx)
	// By a clock that was set back since, one that was made would be a reason for ever.
	if t.prepared && latest.After(t.kept.prepared) {
		t.kept.prepared = latest
	}
}

func (t *tending) run(ctx, looking context.Context) error {
	var failure error
	for look := true; ; {
		if look && !t.yielding && !t.isWanted() && failure == nil {
			failure = t.round(ctx, looking)
		}
		if !t.yielding && (looking.Err() != nil || t.isWanted()) {
			t.giveWay(ctx)
		}
		if len(t.inFlight) == 0 {
			break
		}
		look = t.await(ctx)
	}
	t.note(t.save)
	if t.yielding {
		return nil // what was called off is no failure
	}
	t.result.Silent = failure != nil
	t.result.Stalled = t.result.Silent || t.view.Away[t.want.Scope] != nil || !t.prepared
	if failure == nil {
		failure = t.heldBack()
	}
	return errors.Join(append(t.failures, failure)...)
}

// round is one look at the world; all that follows from it is begun.
func (t *tending) round(ctx, looking context.Context) error {
	world, err := t.look(looking, t.want.Scope, t.inFlight)
	t.lookTook = world.Took
	if err != nil {
		return err
	}
	t.follow(looking, world.Instances)
	if looking.Err() != nil {
		return nil // who did not answer in the end was not asked
	}
	var steps []Step
	t.note(func() {
		if t.making == 0 || t.heldLongEnough() {
			// What failed together is one failure, and it is over.
			t.held = !t.prepared
		}
		t.judge(world)
		if away := world.Away[t.want.Scope]; away != nil && t.first {
			t.failures = append(t.failures, away)
		}
		t.first = false
		steps = plan(t.view, t.want, t.memory, t.cfg.Limits)
	})
	steps = t.replaceable(looking, steps)
	if looking.Err() != nil || t.isWanted() {
		return nil
	}
	if t.over = len(steps) > 0 && !time.Now().Before(t.last); t.over {
		steps = nil
	}
	t.note(func() {
		steps = t.affordable(steps)
		t.announce(steps)
		t.save()
	})
	t.idle++
	if creates := slices.ContainsFunc(steps, func(s Step) bool { return s.Do == DoCreate }); creates && (t.making == 0 || !t.heldTill.IsZero()) {
		t.newWave()
	}
	for _, step := range steps {
		t.launch(ctx, step)
	}
	if t.asked.Seen != nil {
		var seen Result
		t.note(func() { seen = t.finish() })
		t.asked.Seen(seen)
	}
	return nil
}

// heldLongEnough reports whether creating waits for what began together with a create
// that has failed, and need not any more.
func (t *tending) heldLongEnough() bool {
	return !t.heldTill.IsZero() && !time.Now().Before(t.heldTill)
}

// newWave forgets what failed in the last one.
func (t *tending) newWave() {
	t.heldTill = time.Time{}
	t.note(func() {
		t.wave++
		t.failures, t.failed = nil, map[string]bool{}
	})
}

// launch begins a step.
func (t *tending) launch(ctx context.Context, step Step) {
	t.idle, t.acted = 0, true
	room := t.deletes
	if step.Do == DoCreate {
		room = t.creates
		t.making++
	}
	t.inFlight[step.Runner.Name] = t.underWay(step)
	go func() {
		did := deed{step: step}
		select {
		case room <- struct{}{}:
			ctx, cancel := context.WithTimeout(ctx, t.cfg.Limits.Reconcile)
			did = t.carryOut(ctx, step)
			cancel()
			<-room
		case <-ctx.Done():
		}
		did.step = step
		t.done <- did
	}()
}

// underWay is how a runner counts while a step is being done to it.
func (t *tending) underWay(step Step) Info {
	runner := step.Runner
	runner.InFlight = true
	switch step.Do {
	case DoCreate:
		runner.Verdict, runner.Status = Starting, StatusCreating
		runner.Created, runner.Hash, runner.Scope = time.Now(), t.template.Hash, t.want.Scope
	case DoRelease:
		runner.Outdated, runner.Proven = true, true
	case DoRemove:
		runner.Verdict, runner.Since = Deleting, time.Now()
	}
	return runner
}

// await blocks until a step has ended, an event has come, it is time for another
// look or somebody waits, and reports whether the world is to be looked at again.
// What comes together is looked at together: the longer looks lead to nothing, the
// longer is gathered.
func (t *tending) await(ctx context.Context) (look bool) {
	var due <-chan time.Time
	if again := t.again(); again > 0 {
		timer := time.NewTimer(again)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
		return true
	case did := <-t.done:
		t.ended(did)
	case _, ok := <-t.events:
		if !ok {
			t.events = nil
			return false
		}
	case <-t.yield():
		t.giveWay(ctx)
		return false
	}
	gather := time.NewTimer(min(coalesce<<min(t.idle, 4), t.cfg.Limits.Poll/2))
	defer gather.Stop()
	for {
		select {
		case did := <-t.done:
			t.ended(did)
		case <-gather.C:
			return true
		case <-t.yield():
			t.giveWay(ctx)
			return false
		}
	}
}

// isWanted reports whether somebody waits for the unit.
func (t *tending) isWanted() bool {
	select {
	case <-t.asked.Yield:
		return true
	default:
		return false
	}
}

// yield is asked.Yield until it has been heeded.
func (t *tending) yield() <-chan struct{} {
	if t.yielding {
		return nil
	}
	return t.asked.Yield
}

// giveWay begins nothing more. Steps get a moment to end; then they are called
// off, which each of them bounds.
func (t *tending) giveWay(ctx context.Context) {
	t.yielding = true
	grace := time.NewTimer(t.cfg.Limits.Grace)
	defer grace.Stop()
	for len(t.inFlight) > 0 {
		select {
		case did := <-t.done:
			t.ended(did)
			continue
		case <-grace.C:
		case <-ctx.Done():
		}
		break
	}
	t.cancel()
}

// ended takes a step out of flight and tells what came of it.
func (t *tending) ended(did deed) {
	delete(t.inFlight, did.step.Runner.Name)
	if did.step.Do == DoCreate {
		t.making--
		if did.err != nil {
			t.kept.prepared = time.Time{} // what it rests on may be gone
			if t.heldTill.IsZero() {
				t.heldTill = time.Now().Add(t.cfg.Limits.Retry)
			}
		}
	}
	if did.name != "" {
		t.report([]deed{did})
	}
}

// again is after how long the world should be looked at again, although nothing
// may tell of a change until then; zero: no reason to.
func (t *tending) again() time.Duration {
	limits := t.cfg.Limits
	// A look that takes its time, or many calls, is not taken all the time.
	poll := max(limits.poll(len(t.view.Runners)), 10*t.lookTook)
	var soonest time.Duration
	within := func(d time.Duration) {
		d = max(d, poll)
		if soonest == 0 || d < soonest {
			soonest = d
		}
	}
	for _, r := range t.view.Runners {
		if r.InFlight {
			continue // its step tells
		}
		switch r.Verdict {
		case Starting:
			within(poll)
		case Finishing, Lost:
			within(t.quietIn(r))
		case Dead, Traces:
			within(limits.Retry)
		case Busy, Deleting:
			if t.asked.Events == nil {
				within(limits.Blind)
			}
		case Idle:
			if t.asked.Events == nil {
				within(limits.Lull)
			}
		}
	}
	if len(t.view.Orphans) > 0 {
		within(limits.ListLag)
	}
	t.note(func() { // steps may run
		if setback, found := t.memory.lastSetback(); found && t.view.counted() < t.want.Count {
			within(time.Until(setback.Until))
		}
		if len(t.failures) > 0 {
			within(limits.Retry)
		}
	})
	return soonest
}

// quietIn is how long it takes until a runner on its way out may be removed, as
// far as that is a question of time.
func (t *tending) quietIn(r Info) time.Duration {
	if deregistered, byUs := t.recall(signDeregistered, r.Name); byUs && r.Working == WorkingNo {
		return t.cfg.Limits.Settle - time.Since(deregistered)
	}
	if quiet, ok := t.recall(signQuiet, r.Name); ok {
		return t.cfg.Limits.Quiet - time.Since(quiet)
	}
	return t.cfg.Limits.Retry
}
