package runner_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

// Where a job ends before each create has, Tend ends all the same: what is looked
// after once in a while is looked after then.
func TestTendEndsWhileJobsEndAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		f.want.Count = 10
		f.tend(time.Minute)
		f.beforeCreates(func(ctx context.Context, _ int) error {
			pause(ctx, 10*time.Second)
			return nil
		})
		ended := make(chan struct{})
		var jobs sync.WaitGroup
		jobs.Go(func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(5 * time.Second):
					if names := f.running(); len(names) > 0 {
						f.end(names[0])
					}
				}
			}
		})
		events, _ := f.manager.Watch(t.Context())
		f.end(f.running()[0])
		began := time.Now()
		_, again, err := f.manager.Tend(t.Context(), runner.Tending{Want: f.want, Events: events})
		if took := time.Since(began); err != nil || took < 4*time.Minute || took > 6*time.Minute {
			t.Errorf("it took %v: %v", took, err)
		}
		if again == 0 || again > time.Second {
			t.Errorf("what was put off waits for %v", again)
		}
		close(ended)
		jobs.Wait()
		f.tend(time.Minute)
		f.expectRunning(10)
	})
}

// One create that fails keeps others back for a moment, and not until one that
// hangs beside it has been given up.
func TestTendMakesMoreBesideACreateThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		f.tend(time.Minute)
		names := f.expectRunning(3)
		begun := f.beforeCreates(func(ctx context.Context, nth int) error {
			switch nth {
			case 1:
				pause(ctx, 4*time.Minute)
			case 2:
				return errors.New("a moment's trouble")
			}
			return nil
		})
		for _, name := range names[:2] {
			f.end(name)
		}
		began := time.Now()
		f.tend(5 * time.Minute)
		tries := begun()
		if len(tries) < 3 {
			t.Fatalf("%d creates were begun", len(tries))
		}
		if waited := tries[2].Sub(began); waited > 15*time.Second {
			t.Errorf("after a failure the next create was begun after %v", waited)
		}
		f.expectRunning(3)
	})
}

// What is a question of time alone does not wait for the end of a slow step.
func TestTendKeepsTimeWhileAStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		f.tend(time.Minute)
		names := f.expectRunning(3)
		f.memory.Setbacks = map[string]runner.Setback{"quota": {Count: 2, Until: time.Now().Add(10 * time.Second), Reason: "full"}}
		f.restart()
		f.remove = func(name string) error {
			time.Sleep(110 * time.Second)
			return f.cloud.Delete(t.Context(), name)
		}
		begun := f.beforeCreates(func(context.Context, int) error { return nil })
		f.end(names[0])
		began := time.Now()
		f.tend(3 * time.Minute)
		if tries := begun(); len(tries) != 1 || tries[0].Sub(began) > 12*time.Second {
			t.Errorf("a setback lasted 10 s, creates were begun %v after %v", tries, began)
		}
	})
}

// Who comes to wait for the unit during a look finds no step begun after it.
func TestTendBeginsNothingForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := slowcloud.Fast()
		options.CallTakes = 300 * time.Millisecond
		f := newFleet(t, options)
		yield := make(chan struct{})
		time.AfterFunc(400*time.Millisecond, func() { close(yield) }) // in the middle of List
		began := time.Now()
		if _, _, err := f.manager.Tend(t.Context(), runner.Tending{Want: f.want, Yield: yield}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it gave way after %v", took)
		}
		if n := f.github.count("register"); n != 0 {
			t.Errorf("%d registrations were made for runners that nobody was to make", n)
		}
	})
}

// A removal that was called off may have gone on at the cloud: what the runner left
// is told of by whoever cleans up after it.
func TestTracesOfARunnerAreToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Fast())
		f.tend(time.Minute)
		name := owner.NewName()
		f.traces = []string{name}
		f.tend(time.Minute)
		if len(f.traces) > 0 || !slices.Equal(f.journal.ended, []string{name}) {
			t.Errorf("traces left: %v; told as ended: %v", f.traces, f.journal.ended)
		}
	})
}
