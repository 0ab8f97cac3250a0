package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

// tend keeps the fleet for so long as the resident agent does: on events and when
// it said that it would look again.
func (f *fleet) tend(length time.Duration) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), length)
	defer cancel()
	events, err := f.manager.Watch(ctx)
	if err != nil {
		f.Fatal(err)
	}
	for ctx.Err() == nil {
		result, again, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Events: events})
		f.last, f.trouble = result, err
		if again == 0 {
			again = 10 * time.Minute
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-events:
		}
		timer.Stop()
	}
}

func TestTendReplacesWhatHasFinished(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		names := f.expectRunning(3)
		for range 3 {
			f.takeJob(names[0])
			f.endJob(names[0])
			f.tend(5 * time.Minute)
			after := f.expectRunning(3)
			if slices.Contains(after, names[0]) {
				f.Errorf("%s ran a job and still runs", names[0])
			}
			names = after
		}
		if made := len(f.cloud.Created()); made != 6 {
			f.Errorf("%d runners were made for three and three jobs", made)
		}
		if len(f.journal.ended) != 3 {
			f.Errorf("told as ended: %v", f.journal.ended)
		}
	})
}

func TestTendComesToRest(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		before := f.github.count("list")
		f.tend(time.Hour)
		// The slow cloud tells of nothing: it has to be looked at.
		if looks := f.github.count("list") - before; looks > 260 {
			f.Errorf("%d looks in a steady hour", looks)
		}
		f.expectRunning(3)
		f.want.Count = 1
		f.tend(5 * time.Minute)
		f.expectRunning(1)
		f.want.Count = 0
		f.tend(5 * time.Minute)
		f.expectNothingLeft()
	})
}

// While one create takes its time, a slot that becomes free does not wait for it.
func TestTendPlansWhileStepsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		f.tend(time.Minute)
		names := f.expectRunning(3)
		begun := f.beforeCreates(func(ctx context.Context, _ int) error {
			pause(ctx, 30*time.Second)
			return nil
		})
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { f.end(names[0]) })
		time.AfterFunc(20*time.Second, func() { f.end(names[1]) })
		f.tend(2 * time.Minute)
		var after []time.Duration
		for _, at := range begun() {
			after = append(after, at.Sub(began))
		}
		slices.Sort(after)
		if len(after) != 2 || after[0] > 11*time.Second || after[1] > 21*time.Second {
			t.Errorf("jobs ended after 10 and 20 s, their runners' successors were begun after %v", after)
		}
		f.expectRunning(3)
	})
}

// end lets a runner do a job to its end at once.
func (f *fleet) end(name string) {
	f.github.drop(name)
	if err := errors.Join(f.cloud.TakeJob(name), f.cloud.Complete(name), f.cloud.Stop(name)); err != nil {
		f.Error(err)
	}
}

func pause(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}

// Whoever waits for the unit gets it within five seconds, and finds nothing that
// the next Tend does not understand.
// What a hook found changed is not undone by an agent that has not looked at it since.
func TestTendDoesNotRollBack(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		f.expectRunning(3)
		agent := f.manager
		f.cloud.SetRecipe("another")
		f.restart()
		f.reconcile() // as a hook does
		f.manager = agent
		f.manager.Recall(f.memory)
		f.tend(30 * time.Minute)
		f.expectRunning(3)
		if made := len(f.cloud.Created()); made != 6 {
			f.Errorf("%d runners were made for three, and for three of another recipe", made)
		}
		for _, r := range f.last.View.Runners {
			if r.Outdated {
				f.Errorf("%s is outdated", r.Name)
			}
		}
	})
}

// The time that a step may take does not run while it waits for its turn.
func TestTendGivesEachStepItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		limits := runner.DefaultLimits(1)
		f.want.Count = 3 * limits.Creates
		begun := f.beforeCreates(func(ctx context.Context, nth int) error {
			select {
			case <-time.After(limits.Reconcile - time.Second):
				return nil
			case <-ctx.Done():
				t.Errorf("create %d had no time left", nth)
				return ctx.Err()
			}
		})
		f.tend(3 * limits.Reconcile)
		f.expectRunning(f.want.Count)
		if times := begun(); len(times) != f.want.Count {
			t.Errorf("%d creates were begun for %d runners", len(times), f.want.Count)
		}
	})
}

func TestTendGivesWay(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		for _, moment := range []time.Duration{0, 100 * time.Millisecond, 3 * time.Second, 8500 * time.Millisecond} {
			yield := make(chan struct{})
			began := time.Now()
			time.AfterFunc(moment, func() { close(yield) })
			events, _ := f.manager.Watch(f.Context())
			_, _, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Events: events, Yield: yield})
			if late := time.Since(began) - moment; late > 5*time.Second {
				f.Errorf("it gave way %v after it was asked to", late)
			}
			if err != nil {
				f.Errorf("giving way is a failure: %v", err)
			}
			if len(f.memory.Setbacks) > 0 {
				f.Errorf("giving way is remembered as a setback: %v", f.memory.Setbacks)
			}
			f.restart()
		}
		f.tend(30 * time.Minute)
		f.expectRunning(3)
		if n := len(f.github.names()); n != 3 {
			f.Errorf("%d registrations for three runners", n)
		}
	})
}

// A look or a preparation that takes its time is called off for whoever waits, and
// what it had not found out by then says nothing.
func TestTendGivesWayWhileItLooks(t *testing.T) {
	for _, method := range []string{"List", "Prepare"} {
		onEachCloud(t, func(f *fleet) {
			f.tend(5 * time.Minute)
			f.cloud.AddFault(slowcloud.Fault{Method: method, Hangs: true, Times: 1})
			yield, told := make(chan struct{}), f.journal.reconciled
			began := time.Now()
			time.AfterFunc(3*time.Second, func() { close(yield) })
			result, _, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Yield: yield, Fresh: true})
			if took := time.Since(began); took > 8*time.Second {
				f.Errorf("%s: it gave way %v after it was asked to", method, took-3*time.Second)
			}
			if err != nil || result.Stalled || len(f.memory.Setbacks) > 0 {
				f.Errorf("%s: giving way is a failure: %v, %v", method, err, f.memory.Setbacks)
			}
			if f.journal.reconciled != told {
				f.Errorf("%s: what was not looked at was told of", method)
			}
			f.tend(5 * time.Minute)
			f.expectRunning(3)
			if made := len(f.cloud.Created()); made != 3 {
				f.Errorf("%s: %d runners were made for three", method, made)
			}
		})
	}
}

func TestTendLeavesBusyRunnersAlone(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		names := f.expectRunning(3)
		f.takeJob(names[1])
		f.github.set(func(g *github) { g.lags = true })
		f.want.Count = 0
		f.tend(time.Minute)
		if diff := cmp.Diff([]string{names[1]}, f.expectRunning(1)); diff != "" {
			f.Errorf("what runs beside a busy runner (-want +got):\n%s", diff)
		}
		f.cloud.SetRecipe("another")
		f.want.Count = 3
		f.tend(5 * time.Minute)
		if after := f.expectRunning(3); !slices.Contains(after, names[1]) {
			f.Errorf("the busy runner %s is gone", names[1])
		}
	})
}

// Outdated runners are replaced a few at a time; at no time are there fewer than
// wanted but those few, nor more.
func TestTendRollsAFewAtATime(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 8
		f.tend(10 * time.Minute)
		f.expectRunning(8)
		f.cloud.SetRecipe("another")
		least, most := 8, 8
		for range 120 {
			f.tend(15 * time.Second)
			online, counted := 0, 0
			for _, r := range f.last.View.Runners {
				if r.Verdict == runner.Idle {
					online++
				}
				if r.Verdict.Counts() {
					counted++
				}
			}
			least, most = min(least, online), max(most, counted)
		}
		if least < 6 || most > 8 {
			f.Errorf("between %d and %d runners while 8 were replaced, two at a time", least, most)
		}
		for _, r := range f.last.View.Runners {
			if r.Outdated {
				f.Errorf("%s is still outdated", r.Name)
			}
		}
	})
}

func TestTendBrakesAndHeals(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.cloud.AddFault(slowcloud.Fault{Method: "Create", Err: fmt.Errorf("no room: %w", runner.ErrQuota)})
		f.tend(time.Hour)
		tries := f.github.count("register")
		if tries < 6 || tries > 20 {
			f.Errorf("%d tries in an hour without room; three at once, then fewer and fewer", tries)
		}
		if !errors.Is(f.trouble, runner.ErrQuota) || f.last.Held.Count < 2 {
			f.Errorf("what is said of it: %v, %+v", f.trouble, f.last.Held)
		}
		f.cloud.ClearFaults()
		f.tend(30 * time.Minute)
		f.expectRunning(3)
		if f.trouble != nil {
			f.Errorf("after it has healed: %v", f.trouble)
		}
	})
}

// A cloud tells of a try that fails as well: each would bring on the next.
func TestTendDoesNotWakeItself(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		events := make(chan struct{}, 1)
		var tries atomic.Int32
		f.remove = func(string) error {
			tries.Add(1)
			time.AfterFunc(300*time.Millisecond, func() {
				select {
				case events <- struct{}{}:
				default:
				}
			})
			return errors.New("the cloud can't remove it")
		}
		f.end(f.expectRunning(3)[0])
		for began := time.Now(); time.Since(began) < time.Minute; {
			_, again, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Events: events})
			if err == nil {
				f.Error("nothing is said of what can't be removed")
			}
			timer := time.NewTimer(again)
			select {
			case <-events:
			case <-timer.C:
			}
			timer.Stop()
		}
		if n := tries.Load(); n < 2 || n > 8 {
			f.Errorf("%d tries in a minute", n)
		}
	})
}

func TestTendSaysThatNothingAnswers(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		f.github.setAway(home, runner.ErrUnreachable)
		f.tend(time.Minute)
		// Machines can be removed all the same.
		if !f.last.Stalled || f.last.Silent || !errors.Is(f.trouble, runner.ErrUnreachable) {
			f.Errorf("GitHub is away: stalled %v, silent %v, %v", f.last.Stalled, f.last.Silent, f.trouble)
		}
		f.end(f.running()[0])
		f.tend(time.Minute)
		if there := len(f.cloud.Truth()); there != 2 {
			f.Errorf("GitHub is away: %d machines are there, one of three was dead", there)
		}
		f.cloud.AddFault(slowcloud.Fault{Method: "List", Err: runner.ErrUnreachable})
		f.tend(time.Minute)
		if !f.last.Stalled || !f.last.Silent {
			f.Errorf("the cloud is away: stalled %v, silent %v", f.last.Stalled, f.last.Silent)
		}
		f.cloud.ClearFaults()
		f.github.setAway(home, nil)
		f.tend(10 * time.Minute)
		if f.last.Stalled || f.trouble != nil {
			f.Errorf("GitHub is back: stalled %v, %v", f.last.Stalled, f.trouble)
		}
		f.expectRunning(3)
	})
}

// Without an image no runner can be made, and one that is dead goes all the same.
func TestTendRemovesWhereNothingCanBeMade(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		names := f.expectRunning(3)
		f.cloud.AddFault(slowcloud.Fault{Method: "Prepare", Err: fmt.Errorf("no image: %w", runner.ErrNotFound)})
		f.end(names[0])
		_, _, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Fresh: true})
		if !errors.Is(err, runner.ErrNotFound) {
			f.Errorf("what is said of it: %v", err)
		}
		f.tend(time.Minute)
		if !f.last.Stalled || f.last.Silent {
			f.Errorf("without an image: stalled %v, silent %v", f.last.Stalled, f.last.Silent)
		}
		if there := len(f.cloud.Truth()); there != 2 {
			f.Errorf("%d machines are there, one of three was dead", there)
		}
	})
}

// A clock that is set makes nobody older.
func TestTendAfterTheClockWasSet(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.tend(5 * time.Minute)
		before := f.expectRunning(3)
		f.github.set(func(g *github) { g.never = true }) // they blink
		jump := 3 * time.Hour
		events, _ := f.manager.Watch(f.Context())
		time.Sleep(jump) // the bubble's clock can't be set: it passes, and is told of
		_, _, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Events: events, Jump: jump})
		if err != nil {
			f.Error(err)
		}
		f.tend(3 * time.Minute) // longer than a blink may take otherwise
		f.github.set(func(g *github) { g.never = false })
		f.tend(10 * time.Minute)
		if diff := cmp.Diff(before, f.expectRunning(3)); diff != "" {
			f.Errorf("runners before and after (-before +after):\n%s", diff)
		}
	})
}

// A hook that deregisters a runner just after the clock was set notes that by the new
// clock, which the agent has yet to learn of: the runner, which may have taken a job at
// that moment, keeps the time that it has to show it.
func TestTendAfterTheClockWasSetBeforeAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		f.tend(5 * time.Minute)
		name := f.expectRunning(3)[0]
		f.github.drop(name)
		noted := time.Now()
		f.memory.Seen["deregistered/"+name] = noted
		f.manager.Recall(f.memory)
		f.remove = func(removed string) error {
			if spared := time.Since(noted); removed == name && spared < runner.DefaultLimits(1).Settle {
				f.Errorf("%s was removed %v after it was deregistered", name, spared)
			}
			return f.cloud.Delete(f.Context(), removed)
		}
		events, _ := f.manager.Watch(f.Context())
		if _, _, err := f.manager.Tend(f.Context(), runner.Tending{Want: f.want, Events: events, Jump: -3 * time.Hour}); err != nil {
			f.Error(err)
		}
		f.tend(10 * time.Minute)
		if slices.Contains(f.expectRunning(3), name) {
			f.Errorf("%s, which is deregistered, runs on", name)
		}
	})
}

// What was written down before a clock was set back does not hold for years.
func TestTendForgetsTheFuture(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		future := time.Now().Add(1000 * time.Hour)
		f.memory = runner.Memory{
			Seen:     map[string]time.Time{"away/" + home.String(): future},
			Setbacks: map[string]runner.Setback{"transient": {Count: 3, Until: future, Reason: "once"}},
		}
		f.restart()
		f.tend(30 * time.Minute)
		f.expectRunning(3)
	})
}
