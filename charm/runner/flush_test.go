package runner_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

// TestFlushModes has an idle runner, one before the end of its pre-job script
// and one that is busy for long.
func TestFlushModes(t *testing.T) {
	tests := []struct {
		mode    runner.FlushMode
		survive []string
		waits   bool
	}{
		{runner.FlushIdle, []string{"pre-job", "busy"}, false},
		{runner.FlushIdleWaitRepoCheck, []string{"pre-job", "busy"}, true},
		{runner.FlushBusy, nil, false},
		{runner.FlushBusyWaitRepoCheck, nil, true},
		{runner.ForceFlushWaitRepoCheck, nil, true},
	}
	for _, test := range tests {
		t.Run(string(test.mode), func(t *testing.T) {
			onEachCloud(t, func(f *fleet) {
				f.reconcile()
				names := f.expectRunning(3)
				roles := map[string]string{names[0]: "idle", names[1]: "pre-job", names[2]: "busy"}
				f.takeJob(names[1])
				f.takeJob(names[2])
				if err := f.cloud.EndPreJob(names[2]); err != nil {
					f.Fatal(err)
				}
				began := time.Now()
				go func() {
					time.Sleep(time.Minute)
					f.cloud.EndPreJob(names[1])
				}()
				result := f.flush(test.mode)
				if waited := time.Since(began) >= time.Minute; waited != test.waits {
					f.Errorf("the flush took %v", time.Since(began))
				}
				time.Sleep(2 * time.Minute) // the machine of the slow cloud ends by itself
				var survived []string
				for _, name := range f.running() {
					if roles[name] != "idle" {
						survived = append(survived, roles[name])
					}
				}
				slices.Sort(survived)
				slices.Sort(test.survive)
				if diff := cmp.Diff(test.survive, survived); diff != "" {
					f.Errorf("busy survivors (-want +got):\n%s", diff)
				}
				if got := len(result.SkippedBusy); got != len(test.survive) {
					f.Errorf("skipped-busy names %d, want %d", got, len(test.survive))
				}
				if idle := f.github.byName(names[0]); idle != nil {
					f.Error("the idle runner is still registered")
				}
			})
		})
	}
}

func TestFlushWithoutGitHub(t *testing.T) {
	for _, trouble := range []error{runner.ErrUnreachable, runner.ErrUnauthorized} {
		onEachCloud(t, func(f *fleet) {
			f.reconcile()
			before := f.expectRunning(3)
			f.takeJob(before[0])
			if err := f.cloud.EndPreJob(before[0]); err != nil {
				f.Fatal(err)
			}
			f.github.setAway(home, fmt.Errorf("GitHub: %w", trouble))
			for _, mode := range []runner.FlushMode{runner.FlushIdle, runner.FlushIdleWaitRepoCheck, runner.FlushBusy, runner.FlushBusyWaitRepoCheck} {
				if _, err := f.manager.Flush(f.Context(), home, mode); err == nil {
					f.Errorf("%s works without GitHub", mode)
				}
			}
			f.expectRunning(3)
			result := f.flush(runner.ForceFlushWaitRepoCheck)
			if len(result.RegistrationsLeft) != 3 {
				f.Errorf("registrations left: %v", result.RegistrationsLeft)
			}
			f.expectRunning(0)
			f.github.setAway(home, nil)
			f.github.setBusy(before[0], false) // GitHub notices after a while
			f.want.Count = 0
			f.settle()
			f.expectNothingLeft()
		})
	}
}

func TestRetireRemovesEverything(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		names := f.expectRunning(3)
		f.takeJob(names[0])
		left, err := f.manager.Retire(f.Context(), home)
		for tries := 0; err != nil && tries < 5; tries++ { // Juju tries stop again
			time.Sleep(time.Minute)
			left, err = f.manager.Retire(f.Context(), home)
		}
		if err != nil {
			f.Fatal(err)
		}
		if diff := cmp.Diff([]string{names[0]}, left); diff != "" {
			f.Errorf("registrations that GitHub holds (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
		f.github.drop(names[0])
		f.expectNothingLeft()
		if f.cloud.Prepared() {
			f.Error("what was prepared is still there")
		}
	})
}

// A runner whose job arrived a moment ago is listed as idle; GitHub's refusal
// to deregister it is the first word of its job.
func TestFlushWaitsForAJobThatGitHubDoesNotListYet(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.reconcile()
		name := f.expectRunning(1)[0]
		f.github.set(func(g *github) { g.lags = true })
		f.takeJob(name)
		began := time.Now()
		go func() {
			time.Sleep(time.Minute)
			f.cloud.EndPreJob(name)
		}()
		f.flush(runner.FlushBusyWaitRepoCheck)
		if took := time.Since(began); took < time.Minute {
			f.Errorf("the flush ended after %v, in the middle of a pre-job script", took)
		}
	})
}

func TestFlushWaitsOnWhenTheCloudFailsToWait(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.reconcile()
		name := f.expectRunning(1)[0]
		f.takeJob(name)
		f.cloud.AddFault(slowcloud.Fault{Method: "PreJobDone", Err: runner.ErrUnreachable, Times: 3})
		began := time.Now()
		go func() {
			time.Sleep(time.Minute)
			f.cloud.EndPreJob(name)
		}()
		f.flush(runner.FlushBusyWaitRepoCheck)
		if took := time.Since(began); took < time.Minute {
			f.Errorf("the flush ended after %v, in the middle of a pre-job script", took)
		}
	})
}

func TestParseFlushMode(t *testing.T) {
	for name, want := range map[string]runner.FlushMode{"": runner.FlushIdle, "flush-busy": runner.FlushBusy} {
		if got, err := runner.ParseFlushMode(name); got != want || err != nil {
			t.Errorf("ParseFlushMode(%q) = %q, %v", name, got, err)
		}
	}
	if _, err := runner.ParseFlushMode("flush-all"); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// TestFlushTellsWhoCameOnline has a runner that comes online after the reconcile
// that made it did not wait for it: a flush that leaves it is the first to see it.
func TestFlushTellsWhoCameOnline(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		if _, err := f.manager.Reconcile(f.Context(), f.want, false); err != nil {
			f.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		name := f.expectRunning(1)[0]
		f.takeJob(name)
		f.flush(runner.FlushIdle)
		f.restart()
		f.reconcile()
		if _, err := f.manager.Check(f.Context(), home); err != nil {
			f.Fatal(err)
		}
		if diff := cmp.Diff([]string{name}, f.journal.online); diff != "" {
			f.Errorf("told as online (-want +got):\n%s", diff)
		}
	})
}
