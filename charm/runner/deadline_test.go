package runner_test

import (
	"testing"
	"time"

	"github-runner/charm/runner"
)

// A reconcile ends in time also where machines may take longer to come online; it
// leaves them to the next one, which judges them.
func TestReconcileEndsBeforeSlowMachinesDo(t *testing.T) {
	onEachCloud(t, func(f *fleet) {
		f.github.set(func(g *github) { g.never = true })
		began := time.Now()
		result, err := f.manager.Reconcile(f.Context(), f.want, true)
		if took := time.Since(began); took > runner.DefaultLimits(2).Reconcile+time.Second {
			f.Errorf("it took %v", took)
		}
		starting := result.View.Count(runner.Starting)
		if err == nil && starting != f.want.Count {
			f.Errorf("it ended without a word, with %d runners starting", starting)
		}
		f.restart()
		time.Sleep(20 * time.Minute)
		if _, err := f.manager.Reconcile(f.Context(), f.want, true); err == nil && len(f.memory.Setbacks) == 0 {
			f.Error("nothing is said about runners that did not come online")
		}
	})
}
