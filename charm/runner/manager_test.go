package runner_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

func TestRunnersComeUpAndStay(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		result := f.reconcile()
		first := f.expectRunning(3)
		if result.Delta != 3 || result.Created != 3 {
			f.Errorf("delta %d, created %d, want 3 and 3", result.Delta, result.Created)
		}
		registered := f.github.count("register")
		for range 5 {
			f.restart() // as each hook is a process of its own
			f.reconcile()
			time.Sleep(time.Minute)
		}
		if diff := cmp.Diff(first, f.expectRunning(3)); diff != "" {
			f.Errorf("a steady fleet changed (-first +last):\n%s", diff)
		}
		if n := f.github.count("register"); n != registered {
			f.Errorf("%d registrations in the steady state", n-registered)
		}
		slices.Sort(f.journal.online)
		if diff := cmp.Diff(first, f.journal.online); diff != "" {
			f.Errorf("told as online (-want +got):\n%s", diff)
		}
	})
}

func TestSteadyReconcileCostsOneList(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		time.Sleep(time.Minute)
		before := map[string]int{}
		for _, call := range []string{"list", "get", "register", "deregister"} {
			before[call] = f.github.count(call)
		}
		f.reconcile()
		got := map[string]int{}
		for call, n := range before {
			got[call] = f.github.count(call) - n
		}
		want := map[string]int{"list": 1, "get": 0, "register": 0, "deregister": 0}
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("calls of a steady reconcile (-want +got):\n%s", diff)
		}
	})
}

func TestFinishedRunnerIsReplaced(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		names := f.expectRunning(3)
		f.takeJob(names[0])
		f.endJob(names[0])
		f.reconcile()
		after := f.expectRunning(3)
		if slices.Contains(after, names[0]) {
			f.Errorf("%s ran a job and still runs", names[0])
		}
		if diff := cmp.Diff([]string{names[0]}, f.journal.ended); diff != "" {
			f.Errorf("told as ended (-want +got):\n%s", diff)
		}
	})
}

func TestBusyRunnersSurviveScalingDown(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		busy := f.expectRunning(3)[:2]
		f.takeJob(busy[0])
		f.takeJob(busy[1])
		f.want.Count = 0
		f.settle()
		if diff := cmp.Diff(busy, f.running()); diff != "" {
			f.Errorf("running with none wanted (-busy +running):\n%s", diff)
		}
		f.endJob(busy[0])
		f.endJob(busy[1])
		f.settle()
		f.expectNothingLeft()
	})
}

// GitHub's busy flag lags; only its refusal and the cloud's insight protect.
func TestJobTakenAtTheLastMomentIsNotKilled(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.reconcile()
		name := f.expectRunning(1)[0]
		// GitHub deregisters it although it has just taken a job.
		f.github.set(func(g *github) { g.lenient = true })
		f.github.refuseNothingBut(func(call string) {
			if call == "deregister" {
				f.cloud.TakeJob(name)
			}
		})
		f.want.Count = 0
		f.settle()
		if diff := cmp.Diff([]string{name}, f.running()); diff != "" {
			f.Errorf("running (-want +got):\n%s", diff)
		}
		f.endJob(name)
		f.settle()
		f.expectNothingLeft()
	})
}

func (g *github) refuseNothingBut(see func(call string)) {
	g.set(func(g *github) {
		g.refuse = func(call, _ string) error { see(call); return nil }
	})
}

func TestPathChangeRollsIdleAndKeepsBusy(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Scope = elder
		f.reconcile()
		busy := f.expectRunning(3)[0]
		f.takeJob(busy)
		f.memory.Former = []runner.Scope{elder}
		f.restart()
		f.want.Scope = home
		f.settle()
		if !slices.Contains(f.expectRunning(3), busy) {
			f.Errorf("busy %s of the old path is gone", busy)
		}
		f.endJob(busy)
		f.settle()
		f.expectRunning(3)
		if diff := cmp.Diff([]runner.Scope(nil), f.memory.Former); diff != "" {
			f.Errorf("former scopes are not let go:\n%s", diff)
		}
		for _, r := range f.github.registrations {
			if r.Scope != home {
				f.Errorf("%s is still registered at %s", r.Name, r.Scope)
			}
		}
	})
}

func TestOldPathWithARevokedTokenIsLeftAlone(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Scope = elder
		f.reconcile()
		busy := f.expectRunning(3)
		for _, name := range busy {
			f.takeJob(name)
		}
		f.github.setAway(elder, fmt.Errorf("old token: %w", runner.ErrUnauthorized))
		f.want.Scope = home
		f.settle()
		if diff := cmp.Diff(busy, f.running()); diff != "" {
			f.Errorf("runners of the old path (-before +after):\n%s", diff)
		}
		for _, name := range busy {
			f.endJob(name)
		}
		f.settle()
		for _, instance := range f.cloud.Truth() {
			if instance.Scope != home {
				f.Errorf("%s of the old path is left", instance.Name)
			}
		}
		f.expectRunning(3)
	})
}

func TestOutdatedRunnersAreReplacedAFewAtATime(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 8
		f.reconcile()
		before := f.expectRunning(8)
		f.cloud.SetRecipe("another image")
		fewest := 8
		done, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Second):
					fewest = min(fewest, len(f.running()))
				}
			}
		}()
		f.settle()
		close(done)
		<-ended
		for _, name := range f.expectRunning(8) {
			if slices.Contains(before, name) {
				f.Errorf("%s is outdated and still runs", name)
			}
		}
		if fewest < 4 {
			f.Errorf("only %d of 8 were left at a time", fewest)
		}
	})
}

func TestIdleForHalfADayIsReplaced(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.reconcile()
		first := f.expectRunning(1)[0]
		time.Sleep(13 * time.Hour)
		f.settle()
		if f.expectRunning(1)[0] == first {
			f.Errorf("%s is 13 hours old and still waits", first)
		}
	})
}

func TestGitHubAwayTouchesNothing(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		before := f.expectRunning(3)
		f.github.setAway(home, fmt.Errorf("no answer: %w", runner.ErrUnreachable))
		for range 4 {
			time.Sleep(10 * time.Minute)
			if _, err := f.manager.Reconcile(f.Context(), f.want, true); !errors.Is(err, runner.ErrUnreachable) {
				f.Errorf("reconcile without GitHub: %v", err)
			}
		}
		f.github.setAway(home, nil)
		// They need a moment to come back online, and get it.
		f.github.set(func(g *github) { g.never = true })
		f.reconcile()
		f.github.set(func(g *github) { g.never = false })
		f.settle()
		if diff := cmp.Diff(before, f.running()); diff != "" {
			f.Errorf("running (-before +after):\n%s", diff)
		}
	})
}

func TestDeadMachinesGoWithoutGitHub(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		dead := f.expectRunning(3)[0]
		f.github.setAway(home, fmt.Errorf("no answer: %w", runner.ErrUnreachable))
		if err := f.cloud.Fail(dead, "no valid host"); err != nil {
			f.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		f.manager.Reconcile(f.Context(), f.want, true)
		if !slices.Contains(f.cloud.Deleted(), dead) {
			f.Errorf("%s is in error and was not deleted", dead)
		}
		f.github.setAway(home, nil)
		f.settle()
		f.expectRunning(3)
	})
}

func TestRunnersComeBackAfterAReboot(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		f.settle()
		for _, name := range f.expectRunning(3) {
			if err := f.cloud.Stop(name); err != nil {
				f.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		f.restart()
		f.reconcile()
		f.expectRunning(3)
	})
}

func TestOrphansAreSwept(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		_, _, err := f.github.Register(f.Context(), home, runner.Request{Name: owner.NewName()})
		if err != nil {
			f.Fatal(err)
		}
		stranger := runner.Owner{ModelUUID: owner.ModelUUID, Unit: "github-runner/10"}.NewName()
		if _, _, err := f.github.Register(f.Context(), home, runner.Request{Name: stranger}); err != nil {
			f.Fatal(err)
		}
		f.want.Count = 0
		f.reconcile()
		if diff := cmp.Diff([]string{stranger}, f.github.names()); diff != "" {
			f.Errorf("registrations (-want +got):\n%s", diff)
		}
	})
}

func TestForeignInstanceIsNeverTouched(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		foreign := runner.Owner{ModelUUID: "another", Unit: owner.Unit}.NewName()
		f.cloud.Add(runner.Instance{Name: foreign, Status: runner.StatusStopped, Foreign: true})
		f.settle()
		f.expectRunning(3)
		result := f.reconcile()
		if len(result.Warnings) != 1 {
			f.Errorf("warnings: %q", result.Warnings)
		}
		if slices.Contains(f.cloud.Deleted(), foreign) {
			f.Error("a foreign instance was deleted")
		}
	})
}

func TestTemplateThatReadsBackOtherwiseIsNoRoll(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.want.Count = 1
		f.cloud.AddFault(slowcloud.Fault{Method: "Watch", Err: errors.New("no events")})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for len(f.cloud.Truth()) == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			f.cloud.Change(f.cloud.Truth()[0].Name, func(i *runner.Instance) { i.Hash = "garbled" })
		}()
		_, err := f.manager.Reconcile(f.Context(), f.want, true)
		<-done
		time.Sleep(10 * time.Second)
		if n := len(f.cloud.Created()); n != 1 {
			f.Errorf("%d were created, the reconcile says %v", n, err)
		}
	})
}
