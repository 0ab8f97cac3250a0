package runner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
)

func TestDrainWaitsForTheBusy(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		busy := f.expectRunning(3)[1]
		f.takeJob(busy)
		ended := make(chan struct{})
		time.AfterFunc(time.Minute, func() {
			defer close(ended)
			f.endJob(busy)
		})
		if left, err := f.manager.Drain(f.Context(), f.want); err != nil || len(left) > 0 {
			f.Errorf("Drain leaves %v, %v", left, err)
		}
		<-ended
		f.expectRunning(0)
	})
}

// It gives up on a job that does not end, and leaves it alone.
func TestDrainLeavesALongJob(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.reconcile()
		busy := f.expectRunning(3)[0]
		f.takeJob(busy)
		began := time.Now()
		left, err := f.manager.Drain(f.Context(), f.want)
		if err != nil || len(left) != 1 || left[0] != busy {
			f.Errorf("Drain leaves %v, %v, want %s", left, err, busy)
		}
		if took := time.Since(began); took < 4*time.Minute || took > 7*time.Minute {
			f.Errorf("Drain gave up after %v", took)
		}
		if !strings.HasPrefix(f.told, "waiting for 1 runner to end; ") || !strings.HasSuffix(f.told, ", within 5 minutes") {
			f.Errorf("said while waiting: %q", f.told)
		}
		if running := f.expectRunning(1); len(running) == 1 && running[0] != busy {
			f.Errorf("%v runs, want %s", running, busy)
		}
	})
}

// Who asks what is left of a drained unit has no use for what is going already.
func TestStayingLeavesOutWhatIsGoing(t *testing.T) {
	view := runner.View{Runners: []runner.Info{
		{Instance: runner.Instance{Name: "c"}, Verdict: runner.Deleting},
		{Instance: runner.Instance{Name: "b"}, Verdict: runner.Idle},
		{Instance: runner.Instance{Name: "d"}, Verdict: runner.Foreign},
		{Instance: runner.Instance{Name: "a"}, Verdict: runner.Busy},
	}}
	if diff := cmp.Diff([]string{"a", "b"}, view.Staying()); diff != "" {
		t.Errorf("staying (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, view.Present()); diff != "" {
		t.Errorf("present (-want +got):\n%s", diff)
	}
}
