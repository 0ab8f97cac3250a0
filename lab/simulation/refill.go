package simulation

import (
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

const (
	// refillBound is how long a slot stays free after a runner's machine has
	// ended. Calls that look take no time here, so what it takes is what the
	// agent waits for: the times it gathers events for.
	refillBound = time.Second
	// settling is how long an agent has to run before it is held to that: it
	// looks at everything first.
	settling = 30 * time.Second
	// unharmed is how long nothing may have been wrong.
	unharmed = 10 * time.Minute
)

// checkRefill is told of a runner whose application has ended: a second after
// its machine has ended there must be another in its place, where nothing was
// wrong and no hook had the unit.
func (l *life) checkRefill(name string) {
	l.mu.Lock()
	l.ended = append(l.ended, time.Now())
	l.mu.Unlock()
	time.Sleep(timing.PowerOff)
	before, ok := l.undisturbedAgent()
	if !ok || l.machineRuns(name) {
		return
	}
	time.Sleep(refillBound)
	after, ok := l.undisturbedAgent()
	if !ok || before != after {
		return
	}
	l.mu.Lock()
	l.report.Refills++
	l.mu.Unlock()
	count, want := l.made(), l.unit.wanted().Count
	if l.making() >= parallelCreates {
		return // the others wait for room
	}
	if count+l.endedSince(time.Now().Add(-timing.PowerOff-refillBound)) < want {
		l.violate("%s after %s ended, %d runners of %d are there or made", refillBound, name, count, want)
	}
}

// parallelCreates is how many runners are made at a time at the least.
const parallelCreates = 4

// making counts the unit's machines that are being made: those that are not on
// yet.
func (l *life) making() int {
	count := 0
	for _, instance := range l.world.daemon().Possessions().Instances {
		if owner.Owns(instance.Name) && instance.StatusCode == api.Stopped {
			count++
		}
	}
	return count
}

// endedSince counts the runners that ended after a time: their slots may be free
// still.
func (l *life) endedSince(since time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, ended := range l.ended {
		if ended.After(since) {
			count++
		}
	}
	return count
}

// watch identifies a time in which an agent alone looks after the unit.
type watch struct {
	agent *resident
	calls int32
	want  runner.Scope
	count int
}

// undisturbedAgent returns who looks after the unit and what for, and whether
// that is an agent that nothing has disturbed.
func (l *life) undisturbedAgent() (watch, bool) {
	if l.stopped.Load() || !l.quietFor(unharmed) || l.inCall.Load() || l.unit.needsAPerson() {
		return watch{}, false
	}
	l.mu.Lock()
	limited := time.Now().Before(l.limited)
	l.mu.Unlock()
	if limited {
		return watch{}, false
	}
	running := l.unit.pebble.running()
	if running == nil || time.Since(running.began) < settling {
		return watch{}, false
	}
	wanted := l.unit.wanted()
	return watch{running, l.calls.Load(), wanted.Scope, wanted.Count}, true
}

func (l *life) machineRuns(name string) bool {
	for _, instance := range l.world.daemon().Possessions().Instances {
		if instance.Name == name {
			return instance.StatusCode != api.Stopped
		}
	}
	return false
}

// made counts the unit's runners that were made and have not ended: registered,
// with a machine that runs or that is being made.
func (l *life) made() int {
	machines := map[string]bool{}
	for _, instance := range l.world.daemon().Possessions().Instances {
		machines[instance.Name] = instance.StatusCode != api.Stopped
	}
	count := 0
	for _, r := range l.world.github.Runners() {
		// A machine that was just made is not on yet.
		young := !r.Busy && time.Since(r.Registered) < 10*time.Second && !l.endedByHand(r.Name)
		if owner.Owns(r.Name) && !r.Removed && (machines[r.Name] || young) {
			count++
		}
	}
	return count
}
