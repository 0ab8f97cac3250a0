package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

func TestRunnersThatNeverComeOnlineBrake(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.github.set(func(g *github) { g.never = true })
		start := time.Now()
		for time.Since(start) < 3*time.Hour {
			_, err := f.manager.Reconcile(f.Context(), f.want, true)
			if len(f.cloud.Created()) > 3 && err == nil && f.memory.Setbacks == nil {
				f.Error("nothing is said about runners that never come online")
			}
			f.restart()
			time.Sleep(5 * time.Minute)
		}
		if n := len(f.cloud.Created()); n > 30 {
			f.Errorf("%d runners were made in three hours for nothing", n)
		}
		f.github.set(func(g *github) { g.never = false })
		for range 10 {
			time.Sleep(10 * time.Minute)
			f.manager.Reconcile(f.Context(), f.want, true)
		}
		f.expectRunning(3)
	})
}

func TestApplicationThatExitsAtOnceBrakes(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(f.Context(), 10*time.Minute)
		defer cancel()
		go stopEverything(ctx, f.cloud)
		var last error
		for time.Since(start) < 10*time.Minute {
			_, last = f.manager.Reconcile(ctx, f.want, true)
			f.restart()
			time.Sleep(30 * time.Second)
		}
		if n := len(f.cloud.Created()); n > 10 {
			f.Errorf("%d runners were created in 10 minutes", n)
		}
		if last == nil {
			f.Error("the last reconcile says nothing about it")
		}
	})
}

// A runner that came up before the others began to fail shows nothing about them.
func TestApplicationThatExitsAtOnceBrakesBesideABusyRunner(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.reconcile()
		busy := f.expectRunning(1)[0]
		f.takeJob(busy)
		f.want.Count = 2
		ctx, cancel := context.WithTimeout(f.Context(), 10*time.Minute)
		defer cancel()
		go stopEverything(ctx, f.cloud)
		for ctx.Err() == nil {
			f.manager.Reconcile(ctx, f.want, true)
			f.restart()
			time.Sleep(30 * time.Second)
		}
		if n := len(f.cloud.Created()); n > 10 {
			f.Errorf("%d runners were created in 10 minutes", n)
		}
		for range 3 {
			time.Sleep(10 * time.Minute)
			f.manager.Reconcile(f.Context(), f.want, true)
		}
		f.expectRunning(2)
	})
}

// The runner that takes a failed one's place at once, and stays, ends the matter.
func TestReplacementEndsASetback(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		if err := f.cloud.Stop(f.expectRunning(3)[0]); err != nil {
			f.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.manager.Reconcile(f.Context(), f.want, true)
		time.Sleep(5 * time.Minute)
		f.manager.Reconcile(f.Context(), f.want, true)
		f.expectRunning(3)
		if len(f.memory.Setbacks) > 0 {
			f.Errorf("it is remembered: %v", f.memory.Setbacks)
		}
	})
}

// stopEverything lets each machine without a job power off as soon as it runs.
func stopEverything(ctx context.Context, cloud *slowcloud.Cloud) {
	for ctx.Err() == nil {
		for _, instance := range cloud.Truth() {
			if instance.Status == runner.StatusRunning && instance.Working != runner.WorkingYes {
				cloud.Stop(instance.Name)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	for _, lost := range []bool{false, true} {
		onEachCloud(t, func(f *fleet) {
			f.cloud.AddFault(slowcloud.Fault{Method: "Create", Err: fmt.Errorf("disk full: %w", runner.ErrQuota), Times: 1, LostAnswer: lost})
			f.want.Count = 1
			_, err := f.manager.Reconcile(f.Context(), f.want, true)
			if !errors.Is(err, runner.ErrQuota) {
				f.Errorf("reconcile says %v", err)
			}
			if created := len(f.github.names()); created != 0 {
				f.Errorf("%d registrations are left of a failed create", created)
			}
			f.settle()
			f.expectRunning(1)
			f.want.Count = 0
			f.settle()
			f.expectNothingLeft()
		})
	}
}

// What LXD 5.0 says on a busy machine when it has not read what an image is: it is
// of no kind that must be waited for, so that the next reconcile tries again at
// once.
func TestCreateThatFailsOnceIsTriedAgainAtOnce(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		missed := errors.New("Failed creating instance from image: unexpected end of JSON input")
		f.cloud.AddFault(slowcloud.Fault{Method: "Create", Err: missed, Times: 3})
		if _, err := f.manager.Reconcile(f.Context(), f.want, true); !errors.Is(err, missed) {
			f.Errorf("reconcile says %v", err)
		}
		f.expectRunning(0)
		for kind, setback := range f.memory.Setbacks {
			if setback.Until.After(time.Now()) {
				f.Errorf("after one failure creating waits: %s %+v", kind, setback)
			}
		}
		if _, err := f.manager.Reconcile(f.Context(), f.want, true); err != nil {
			f.Errorf("the next reconcile says %v", err)
		}
		f.expectRunning(3)
		if len(f.memory.Setbacks) != 0 {
			f.Errorf("setbacks: %v", f.memory.Setbacks)
		}
	})
}

// A create whose answer comes too late, or is lost, may have made a runner that
// is at work already.
func TestFailedCreateKillsNoJob(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.create = func(ctx context.Context, template runner.Template, birth runner.Birth) error {
			f.create = nil
			err := f.cloud.Create(ctx, template, birth)
			time.Sleep(2 * time.Minute)
			return errors.Join(err, f.cloud.TakeJob(birth.Name), errors.New("operation not found"))
		}
		if _, err := f.manager.Reconcile(f.Context(), f.want, false); err == nil {
			f.Error("the reconcile says nothing of the failed create")
		}
		f.settle()
		works := func(i runner.Instance) bool { return i.Working == runner.WorkingYes }
		if machines := f.cloud.Truth(); !slices.ContainsFunc(machines, works) {
			f.Errorf("the runner with the job is gone, there is %+v", machines)
		}
	})
}

func TestCreatesThatAreCalledOffAreNoSetback(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.cloud.AddFault(slowcloud.Fault{Method: "Create", Hangs: true})
		ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
		defer cancel()
		f.manager.Reconcile(ctx, f.want, true)
		if len(f.memory.Setbacks) != 0 {
			f.Errorf("setbacks: %v", f.memory.Setbacks)
		}
		if names := f.github.names(); len(names) != 0 {
			f.Errorf("left registered: %v", names)
		}
	})
}

func TestFailuresSideBySideAreOneSetback(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.cloud.AddFault(slowcloud.Fault{Method: "Create", Err: runner.ErrQuota, Times: 3})
		f.manager.Reconcile(f.Context(), f.want, true)
		for kind, setback := range f.memory.Setbacks {
			if setback.Count != 1 {
				f.Errorf("%s counts %d", kind, setback.Count)
			}
		}
		f.reconcile()
	})
}

// A removal that fails must not be tried again and again by one reconcile.
func TestFailedRemovalIsLeftToTheNextReconcile(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.reconcile()
		f.want.Count = 0
		f.cloud.AddFault(slowcloud.Fault{Method: "Delete", Err: runner.ErrUnreachable, Times: 1})
		before := len(f.cloud.Calls())
		began := time.Now()
		f.manager.Reconcile(f.Context(), f.want, true)
		if took, calls := time.Since(began), len(f.cloud.Calls())-before; took > time.Minute || calls > 100 {
			f.Errorf("one failed removal kept the reconcile at it for %v and %d calls", took, calls)
		}
		time.Sleep(5 * time.Minute)
		f.manager.Reconcile(f.Context(), f.want, true)
		f.settle()
		f.expectNothingLeft()
	})
}

func TestMistypedGroupCostsNoRunner(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		before := f.expectRunning(3)
		f.cloud.SetRecipe("another group")
		f.github.set(func(g *github) {
			g.refuse = func(call, _ string) error {
				if call == "ready" || call == "register" {
					return fmt.Errorf("no such group: %w", runner.ErrNotFound)
				}
				return nil
			}
		})
		for range 4 {
			if _, err := f.manager.Reconcile(f.Context(), f.want, true); !errors.Is(err, runner.ErrNotFound) {
				f.Errorf("reconcile: %v", err)
			}
			time.Sleep(5 * time.Minute)
		}
		if diff := cmp.Diff(before, f.running()); diff != "" {
			f.Errorf("running (-before +after):\n%s", diff)
		}
	})
}

// A machine that the cloud gave up before it ran has left nothing: the cloud's words say
// what was wrong.
func TestWhatTheCloudGaveUpIsNotSaidToHaveLeftSomething(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.github.set(func(g *github) { g.never = true })
		f.manager.Reconcile(f.Context(), f.want, false)
		name := f.cloud.Truth()[0].Name
		if err := f.cloud.Fail(name, "No valid host was found."); err != nil {
			f.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		_, err := f.manager.Reconcile(f.Context(), f.want, false)
		if want := "runner " + name + " was given up by the cloud: No valid host was found"; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "it left") {
			f.Errorf("the error is %v, want %q", err, want)
		}
	})
}
