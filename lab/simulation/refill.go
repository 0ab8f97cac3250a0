package simulation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github-runner/charm/runner"
)

// refill says how soon a used runner's slot is filled.
type refill struct {
	// after is how long after its application a machine ends which a slot waits for.
	after time.Duration
	// bound is how long the slot stays free then.
	bound time.Duration
	// parallel is how many runners are made at a time at the least.
	parallel int
}

var (
	// onLXD: calls that look take no time here, so what it takes is what the agent
	// waits for: the times it gathers events for.
	onLXD = refill{after: timing.PowerOff, bound: time.Second, parallel: 4}
	// onOpenStack, which tells of nothing, it is the time between two looks while
	// runners wait for jobs, and what the calls take. The server may run on.
	onOpenStack = refill{bound: 20 * time.Second, parallel: 30}
)

const (
	// settling is how long an agent has to run before it is held to that: it
	// looks at everything first.
	settling = 30 * time.Second
	// longestBoot is how long a runner may take to come online.
	longestBoot = 20 * time.Minute
	// unharmed is how long nothing may have been wrong.
	unharmed = 10 * time.Minute
)

// checkRefill is told of a runner whose application has ended: soon after that there
// must be another in its place, where nothing was wrong and no hook had the unit.
func (l *life) checkRefill(name string) {
	l.mu.Lock()
	l.ended = append(l.ended, time.Now())
	l.mu.Unlock()
	terms := onLXD
	if l.plan.OpenStack {
		terms = onOpenStack
	}
	time.Sleep(terms.after)
	before, ok := l.undisturbedAgent()
	if !ok || terms.after > 0 && l.world.isOn(name) {
		return
	}
	time.Sleep(terms.bound)
	after, ok := l.undisturbedAgent()
	if !ok || before != after {
		return
	}
	l.mu.Lock()
	l.report.Refills++
	l.mu.Unlock()
	count, want := l.made(), l.unit.wanted().Count
	if l.making() >= terms.parallel {
		return // the others wait for room
	}
	if count+l.endedSince(time.Now().Add(-terms.after-terms.bound)) < want {
		l.violate("%s after %s ended, %d runners of %d are there or made", terms.bound, name, count, want)
	}
}

// hasSetbacks reports whether the unit remembers that runners could not be made: however
// long ago that was, it makes one at a time until one has shown that they can.
func (w *world) hasSetbacks() bool {
	content, err := os.ReadFile(filepath.Join(w.folder(), "state.json"))
	var state struct {
		Setbacks map[string]any `json:"setbacks"`
	}
	return err == nil && json.Unmarshal(content, &state) == nil && len(state.Setbacks) > 0
}

// making counts the unit's machines that are being made: those that are not on
// yet.
func (l *life) making() int {
	count := 0
	for _, one := range l.world.machines() {
		if owner.Owns(one.name) && one.making {
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
	if _, message := l.unit.shown(); strings.Contains(message, moving) || l.world.hasSetbacks() {
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

// made counts the unit's runners that were made and have not ended: registered,
// with a machine that runs or that is being made.
func (l *life) made() int {
	machines := map[string]bool{}
	for _, one := range l.world.machines() {
		machines[one.name] = one.on
	}
	count := 0
	for _, r := range l.world.github.Runners() {
		if !r.Online && !r.Busy && time.Since(r.Registered) >= longestBoot {
			continue // another takes its place, while it is let go
		}
		// A machine that was just made is not on yet.
		young := !r.Busy && time.Since(r.Registered) < 10*time.Second && !l.endedByHand(r.Name)
		if owner.Owns(r.Name) && !r.Removed && (machines[r.Name] || young) {
			count++
		}
	}
	return count
}
