package runner_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

// inspections are the names that the cloud was asked to look into.
func (f *fleet) inspections() []string { return f.asked("Inspect") }

// asked are the names that a method of the cloud was called with.
func (f *fleet) asked(method string) []string {
	var names []string
	for _, call := range f.cloud.Calls() {
		if call.Method == method {
			names = append(names, call.Name)
		}
	}
	return names
}

// A runner that has done its job is removed while its machine still waits for
// somebody who fetches what it left, and nobody else's machine is looked into.
func TestCompletedRunnerIsRemovedBeforeItsPowerOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Inspected())
		f.tend(5 * time.Minute)
		names := f.expectRunning(3)
		f.takeJob(names[0])
		f.tend(time.Minute)
		if asked := f.inspections(); len(asked) > 0 {
			t.Errorf("runners that GitHub knows were looked into: %v", asked)
		}
		f.github.drop(names[0])
		if err := f.cloud.Complete(names[0]); err != nil {
			t.Fatal(err)
		}
		f.tend(time.Minute)
		if after := f.cloud.Deleted(); !slices.Equal(after, names[:1]) {
			t.Errorf("removed %v, want %v", after, names[:1])
		}
		for _, name := range f.inspections() {
			if name != names[0] {
				t.Errorf("%s was looked into", name)
			}
		}
	})
}

// A job that GitHub has let go of keeps its machine for as long as it works, and for
// as long as nobody can look.
func TestInspectedWorkKeepsAMachine(t *testing.T) {
	tests := map[string]func(*fleet){
		"at work": func(*fleet) {},
		"unseen": func(f *fleet) {
			f.cloud.AddFault(slowcloud.Fault{Method: "Inspect", Err: errors.New("no route")})
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, slowcloud.Inspected())
				f.tend(5 * time.Minute)
				busy := f.expectRunning(3)[0]
				f.takeJob(busy)
				f.github.drop(busy)
				prepare(f)
				f.tend(30 * time.Minute)
				if gone := f.cloud.Deleted(); slices.Contains(gone, busy) {
					t.Errorf("%s was removed in the middle of its job", busy)
				}
				if len(f.inspections()) == 0 {
					t.Error("nobody looked")
				}
				f.cloud.ClearFaults()
				if err := f.cloud.Change(busy, func(i *runner.Instance) { i.Working, i.Completed = runner.WorkingNo, true }); err != nil {
					t.Fatal(err)
				}
				f.tend(time.Minute)
				if gone := f.cloud.Deleted(); !slices.Contains(gone, busy) {
					t.Errorf("%s stays after its job: %v", busy, gone)
				}
			})
		})
	}
}

// A machine that can't be looked into, as where SSH does not lead into it, is asked
// once a minute, and keeps nobody else's slot empty.
func TestAMachineThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Inspected())
		f.tend(5 * time.Minute)
		names := f.expectRunning(3)
		f.cloud.AddFault(slowcloud.Fault{Method: "Inspect", Takes: 15 * time.Second, Err: runner.ErrUnreachable})
		for _, name := range names[:2] {
			f.takeJob(name)
		}
		f.tend(10 * time.Second)
		f.github.drop(names[0])
		made, began := len(f.asked("Create")), len(f.inspections())
		go func() {
			time.Sleep(100 * time.Second) // of the bubble's fake clock
			f.github.drop(names[1])
		}()
		f.tend(2 * time.Minute)
		if more := len(f.asked("Create")) - made; more != 2 {
			t.Errorf("20 s after the second of two jobs there are %d runners in their places", more)
		}
		f.tend(8 * time.Minute)
		if asked := len(f.inspections()) - began; asked > 20 {
			t.Errorf("two machines that do not answer were asked %d times in 10 minutes", asked)
		}
	})
}

// A runner that ends before it comes online is a failed start as soon as it says so,
// not when its machine powers off or its time is over.
func TestARunnerThatEndsAtOnceIsAFailedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, slowcloud.Inspected())
		f.want.Count = 1
		f.github.set(func(g *github) { g.never = true })
		f.tend(3 * time.Minute)
		name := f.expectRunning(1)[0]
		if err := f.cloud.Change(name, func(i *runner.Instance) { i.Completed = true }); err != nil {
			t.Fatal(err)
		}
		f.tend(2 * time.Minute)
		if gone := f.cloud.Deleted(); !slices.Contains(gone, name) {
			t.Fatalf("%s is there still: deleted %v", name, gone)
		}
		if len(f.memory.Setbacks) == 0 {
			t.Error("it does not count as a failed start")
		}
	})
}

// Nobody connects to machines to collect what idle runners have left, which is nothing:
// neither where there are too many of them, nor where all go, busy ones as well.
func TestNothingIsCollectedFromIdleRunners(t *testing.T) {
	ways := map[string]func(*fleet){
		"fewer": func(f *fleet) {
			f.want.Count = 1
			f.tend(5 * time.Minute)
		},
		"flush": func(f *fleet) { f.flush(runner.FlushBusy) },
		"stop": func(f *fleet) {
			// The slow cloud has not finished with its machines by then.
			if _, err := f.manager.Retire(f.Context(), home); err != nil && !errors.Is(err, runner.ErrBusy) {
				f.Error(err)
			}
		},
	}
	for name, remove := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, slowcloud.Inspected())
				f.tend(5 * time.Minute)
				names := f.expectRunning(3)
				f.takeJob(names[0])
				f.tend(time.Minute)
				remove(f)
				time.Sleep(2 * time.Minute) // the machine of the slow cloud ends by itself
				if asked := slices.DeleteFunc(f.asked("Collect"), func(one string) bool { return one == names[0] }); len(asked) > 0 {
					t.Errorf("%v were collected from, though they were idle", asked)
				}
				gone := f.cloud.Deleted()
				if !slices.Contains(gone, names[1]) || !slices.Contains(gone, names[2]) {
					t.Errorf("removed %v of %v", gone, names)
				}
				if name != "fewer" && !slices.Contains(f.asked("Collect"), names[0]) {
					t.Errorf("nothing was collected from the busy one")
				}
			})
		})
	}
}

// A machine that dies under its job is a crash also where the cloud tells nothing of who
// took one: GitHub does.
func TestAMachineThatDiesUnderItsJobIsACrash(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		busy := f.expectRunning(3)[0]
		f.takeJob(busy)
		if err := f.cloud.Stop(busy); err != nil {
			f.Fatal(err)
		}
		time.Sleep(time.Minute) // the slow cloud's list lags
		if result := f.reconcile(); result.Crashed != 1 || result.Removed != 1 {
			f.Errorf("%d of %d runners that were removed have crashed", result.Crashed, result.Removed)
		}
	})
}

// Where GitHub can't be asked who is busy, a forced flush looks into the runners before
// it ends what they do.
func TestForcedFlushLooksForPreJobScripts(t *testing.T) {
	for name, options := range map[string]slowcloud.Options{"fast": slowcloud.Fast(), "inspected": slowcloud.Inspected()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, options)
				f.want.Count = 1
				f.reconcile()
				busy := f.expectRunning(1)[0]
				f.takeJob(busy)
				f.github.setAway(home, runner.ErrUnreachable)
				began := time.Now()
				go func() {
					time.Sleep(time.Minute) // of the bubble's fake clock
					f.cloud.EndPreJob(busy)
				}()
				f.flush(runner.ForceFlushWaitRepoCheck)
				if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
					t.Errorf("the flush ended after %v, and the pre-job script after a minute", took)
				}
			})
		})
	}
}
