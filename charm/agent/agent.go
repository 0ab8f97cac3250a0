package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// ErrOtherBuild is why an agent ends whose unit was refreshed to another build of
// the charm: whoever supervises it starts that one.
var ErrOtherBuild = errors.New("the unit's state is another build's")

const (
	// firstBackOff and maxBackOff are the times between two looks while the cloud
	// or GitHub does not answer, or nothing can be made.
	firstBackOff = 2 * time.Second
	maxBackOff   = time.Minute
	// unused is how long the agent waits where there is nothing to do for it.
	unused = time.Hour
	// setClock is how far the clock has to jump to be one that was set.
	setClock = time.Minute
)

// Config is what an agent works with.
type Config struct {
	Dir *unitdir.Dir
	// Build is the version of this binary.
	Build    string
	Assemble unit.Assemble
	// Wake makes the agent look at the world now, as an event does.
	Wake <-chan os.Signal
	Log  *logrus.Entry
}

// Run keeps the unit's runners until ctx ends, or the unit was removed or
// refreshed to another build (ErrOtherBuild). It lets go of the unit within
// five seconds when ctx ends or somebody else wants it.
func Run(ctx context.Context, config Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &agent{Config: config, gate: newGate(), board: newBoard(config.Build)}
	a.images = images{board: a.board, log: config.Log}
	stopped, err := a.serve(ctx)
	if err != nil {
		return err
	}
	defer a.drop()
	err = a.keep(ctx)
	cancel()
	a.images.stop()
	return errors.Join(err, <-stopped)
}

type agent struct {
	Config
	gate   *gate
	board  *board
	images images

	hold *unit.Hold // only during a turn
	// last is what the unit remembered when the last turn ended, read what was on its
	// disk when that began, and unwritten is set where the former could not be put there.
	last, read unitdir.State
	unwritten  bool
	fleet      *fleet
	// looked is when the last turn began.
	looked time.Time
	// fresh is when everything is to be looked after next, whatever happens.
	fresh    time.Time
	failures int // turns in a row in which nothing could be done
}

// fleet is a unit.Fleet with what it was made from.
type fleet struct {
	unit.Fleet
	signals
	basis  string
	cancel context.CancelFunc
}

// keep takes turns with those who announce themselves.
func (a *agent) keep(ctx context.Context) error {
	for {
		// Whoever wants the unit during the turn may have hung up by its end, and what
		// gave way to it is still to be done.
		wanted := a.gate.whenWanted()
		next, err := a.turn(ctx, wanted)
		switch {
		case ctx.Err() != nil, errors.Is(err, unitdir.ErrRemoved):
			return nil
		case errors.Is(err, ErrOtherBuild), errors.Is(err, unitdir.ErrNewer):
			return err
		case err != nil:
			a.Log.WithError(err).Warn("the agent can't do its work now")
			a.board.fail(err)
			next = rest{length: a.backOff(), deaf: true}
		}
		a.board.wait(time.Now().Add(next.length))
		if !a.wait(ctx, next, wanted) {
			return nil
		}
	}
}

// rest is how long the agent rests when nothing happens. Where it is deaf, the cloud's
// changes do not end the rest; that the cloud is back does.
type rest struct {
	length time.Duration
	deaf   bool
}

// wait blocks until there is a reason for another turn, and reports whether ctx
// goes on.
func (a *agent) wait(ctx context.Context, r rest, wanted <-chan struct{}) bool {
	timer := time.NewTimer(r.length)
	defer timer.Stop()
	var told signals
	if a.fleet != nil {
		told = a.fleet.signals
	}
	if r.deaf {
		told.changed = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-told.changed:
	case <-told.back:
	case <-a.Wake:
		a.fresh = time.Time{}
	case <-wanted:
	case end := <-a.images.ended:
		if a.images.settle(end, time.Now()) {
			a.fresh = time.Time{}
		}
	}
	// Whoever wants the unit goes first.
	select {
	case <-ctx.Done():
		return false
	case <-a.gate.whenFree():
		return true
	}
}

// turn takes the unit, does what is to be done, and lets it go. It returns for
// how long the agent may rest.
func (a *agent) turn(ctx context.Context, wanted <-chan struct{}) (rest, error) {
	a.board.say("waiting for the unit")
	hold, err := unit.TakeBetween(ctx, a.Dir, a.Log)
	if err != nil {
		return rest{}, err
	}
	defer hold.Release()
	a.hold = hold
	a.remember()
	inForce, ok := hold.LastApplied()
	idle := a.idle(inForce, ok)
	a.board.unit(hold.Past, inForce)
	switch {
	case hold.Past.Build != "" && hold.Past.Build != a.Build:
		return rest{}, fmt.Errorf("%w: %s, not %s", ErrOtherBuild, hold.Past.Build, a.Build)
	case idle != "":
		a.board.say(idle)
		a.drop()
		return rest{length: unused}, nil
	}
	if err := a.renew(ctx, inForce, wanted); err != nil {
		return rest{}, err
	}
	a.board.say(atWork)
	return a.tend(ctx, inForce, wanted)
}

// remember goes on from what the last turn knew, where a state file was lost or
// spoiled, or could not be written and is still as it was: its runners are there all
// the same, and what has failed fails again.
func (a *agent) remember() {
	before := a.read
	a.read = a.hold.Past
	lost := len(a.hold.Past.Applied) == 0 && len(a.last.Applied) > 0
	if !lost && !(a.unwritten && reflect.DeepEqual(before, a.read)) {
		return
	}
	a.hold.Past = a.last
	if a.unwritten {
		// It is said where something new can't be written.
		_ = a.hold.Write()
	}
}

// idle says why there is nothing to do for the agent; "" where there is.
func (a *agent) idle(inForce state.CharmState, applied bool) string {
	switch {
	case a.hold.Past.Stopping:
		return "the unit is being removed"
	case !applied:
		return "waiting for a configuration"
	case !a.hold.FormerCharm("").Done:
		// Hooks replace its runners one by one, and count them.
		return "hooks take over from the previous charm"
	}
	return ""
}

// renew builds what the state in force works with, where it is not built yet.
func (a *agent) renew(ctx context.Context, inForce state.CharmState, wanted <-chan struct{}) error {
	basis, err := basisOf(a.hold.Past)
	if err != nil {
		return err
	}
	if a.fleet != nil && a.fleet.basis == basis {
		return nil
	}
	a.drop()
	materials := a.hold.Materials(inForce, "")
	materials.Save = func(memory runner.Memory) error { return a.hold.SaveMemory(memory) }
	built, err := a.Assemble(inForce, materials)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	a.fleet = &fleet{Fleet: built, basis: basis, cancel: cancel}
	a.fleet.signals = watch(watching, built.Manager, wanted, a.Log)
	a.fresh = time.Time{}
	a.images.follow(inForce)
	return nil
}

// drop lets go of what was built.
func (a *agent) drop() {
	if a.fleet == nil {
		return
	}
	a.fleet.cancel()
	a.fleet.Close()
	a.fleet = nil
}

// tend makes the runners be as wanted.
func (a *agent) tend(ctx context.Context, inForce state.CharmState, wanted <-chan struct{}) (rest, error) {
	memory, err := a.hold.Memory()
	if err != nil {
		a.Log.WithError(err).Warn("what was seen of the runners is lost; the runners are not")
	}
	manager := a.fleet.Manager
	manager.Recall(memory)
	now := time.Now()
	jump := jumped(a.looked, now)
	a.looked = now
	fresh := !now.Before(a.fresh)
	want := a.hold.Want(inForce)
	select {
	case <-a.fleet.back: // this look sees it
	default:
	}
	result, again, err := manager.Tend(ctx, runner.Tending{
		Want: want, Events: a.fleet.changed, Yield: wanted,
		Jump: jump, Fresh: fresh, Seen: a.board.runners,
	})
	if fresh && !result.Stalled && !closed(wanted) {
		a.fresh = now.Add(jitter(inForce.ReconcileInterval))
	}
	a.last, a.unwritten = a.hold.Past, a.hold.Unwritten != nil
	if ctx.Err() == nil {
		a.board.done(result, a.fleet.Budget(), err, time.Since(now))
	}
	if err != nil {
		a.Log.WithError(err).Debug("not everything could be done")
	}
	if ctx.Err() == nil && !closed(wanted) {
		a.lookAfterImage(ctx, inForce, result.Stalled)
	}
	return a.restAfter(result, again, err), nil
}

// restAfter is how long the agent rests after a Tend.
func (a *agent) restAfter(result runner.Result, again time.Duration, err error) rest {
	until := max(time.Until(a.fresh), 0)
	if again > 0 {
		until = min(until, again)
	}
	if !result.Stalled {
		a.failures = 0
		return rest{length: until}
	}
	a.fresh = time.Time{} // when it is over, everything is looked after
	length := a.backOff()
	var limited runner.RateLimited
	if errors.As(err, &limited) {
		length = max(time.Until(limited.Until), firstBackOff)
	}
	// Where runners can be removed, what happens to one is no matter of waiting.
	return rest{length: length, deaf: result.Silent}
}

// backOff is longer each time that nothing can be done.
func (a *agent) backOff() time.Duration {
	length := min(firstBackOff<<min(a.failures, 10), maxBackOff)
	a.failures++
	return jitter(length)
}

// jitter spreads a time by a quarter, so that the agents of many units do not
// come together.
func jitter(length time.Duration) time.Duration {
	return length + time.Duration((rand.Float64()-0.5)/2*float64(length))
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// jumped is how far the clock was set between two readings of it. A time that was
// read in this process knows both clocks.
func jumped(last, now time.Time) time.Duration {
	if last.IsZero() {
		return 0
	}
	return setBy(now.Round(0).Sub(last.Round(0)), now.Sub(last))
}

// setBy is how far a clock was set that has gone by so much, in so much time.
func setBy(gone, took time.Duration) time.Duration {
	if jump := gone - took; jump.Abs() >= setClock {
		return jump
	}
	return 0
}
