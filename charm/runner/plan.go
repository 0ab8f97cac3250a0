package runner

import (
	"cmp"
	"slices"
)

// Do is what a step does.
type Do string

// The steps of a plan.
const (
	// DoCreate: register and create one new runner.
	DoCreate Do = "create"
	// DoRelease: deregister a runner that might be idle. GitHub refuses if it
	// is not; the machine goes once it has been seen to be quiet.
	DoRelease Do = "release"
	// DoRemove: collect what is left, remove the machine, then deregister.
	DoRemove Do = "remove"
	// DoDeregister: remove a registration that has no machine.
	DoDeregister Do = "deregister"
)

// words are how the log speaks of a step that is being done, and of one that was.
func (d Do) words() (doing, done string) {
	switch d {
	case DoCreate:
		return "starting", "started"
	case DoRelease:
		return "letting go of", "let go of"
	case DoRemove:
		return "removing", "removed"
	case DoDeregister:
		return "deregistering", "deregistered"
	}
	return string(d), string(d)
}

const reasonOutdated = "outdated"

// Step is one thing to be done, to one runner. Steps of a plan do not depend on
// each other.
type Step struct {
	Do     Do
	Runner Info
	// Reason is for the log.
	Reason string
}

// plan says what brings the world of the view to the wanted state. It is pure.
// Creating is bounded by what the memory's setbacks allow.
func plan(view View, want Want, memory Memory, limits Limits) []Step {
	steps := cleanUp(view, memory, limits)
	released := release(view, want)
	steps = append(steps, released...)
	missing := want.Count - view.counted()
	if missing <= 0 || view.Away[want.Scope] != nil {
		return steps
	}
	for range memory.allowance(missing, unproven(view, memory), view.Now) {
		steps = append(steps, Step{Do: DoCreate})
	}
	return steps
}

// unproven is how many runners have yet to show that runners can start. One that
// is online has shown it, unless runners were seen to start and then to end.
func unproven(view View, memory Memory) int {
	_, doubted := memory.Setbacks[failStart]
	n := 0
	for _, r := range view.Runners {
		young := r.Verdict == Starting || doubted && r.Verdict == Idle
		if young && !r.Proven && !r.Outdated {
			n++
		}
	}
	return n
}

// cleanUp returns the steps that remove what no longer serves.
func cleanUp(view View, memory Memory, limits Limits) []Step {
	var steps []Step
	for _, r := range view.Runners {
		switch {
		case r.InFlight:
		case r.Verdict == Dead, r.Verdict == Traces, r.Removable:
			steps = append(steps, Step{Do: DoRemove, Runner: r, Reason: end(r, memory)})
		case r.Verdict == Lost:
			// Like an idle one: GitHub may know better.
			steps = append(steps, Step{Do: DoRelease, Runner: r, Reason: string(r.Verdict)})
		}
	}
	for _, orphan := range view.Orphans {
		online := orphan.Registration.Online && !orphan.Registration.Busy
		if online && view.Now.Sub(orphan.Since) < limits.ListLag {
			continue
		}
		steps = append(steps, Step{Do: DoDeregister, Runner: orphan, Reason: "no machine"})
	}
	return steps
}

// end says, for the log, how a runner came to its end.
func end(r Info, memory Memory) string {
	_, byUs := memory.when(signDeregistered, r.Name)
	switch {
	case r.Verdict == Traces:
		return "only files left"
	case r.TookJob:
		return "job done"
	case byUs:
		return "let go"
	case r.FailedStart:
		return "ended without a job"
	case r.Verdict == Finishing:
		return "nothing at work"
	}
	return "stopped"
}

// release returns the steps that let go of free runners: first because there
// are too many, then because they are outdated, a few at a time.
func release(view View, want Want) []Step {
	var steps []Step
	candidates := expendable(view)
	surplus := min(max(view.counted()-leaving(view)-want.Count, 0), len(candidates))
	for _, r := range candidates[:surplus] {
		steps = append(steps, Step{Do: DoRelease, Runner: r, Reason: "too many"})
	}
	// What is missing counts as well: where no replacement can be made, letting
	// go of more would leave nobody.
	budget := max(1, want.Count/4) - max(inMotion(view), want.Count-view.counted())
	for _, r := range candidates[surplus:] {
		if budget <= 0 || !r.Outdated {
			break
		}
		steps = append(steps, Step{Do: DoRelease, Runner: r, Reason: reasonOutdated})
		budget--
	}
	return steps
}

// leaving is how many free runners are being let go of just now. They count
// until GitHub has agreed: it may say that one is busy.
func leaving(view View) int {
	n := 0
	for _, r := range view.Runners {
		if r.InFlight && r.Outdated && r.Verdict.Counts() {
			n++
		}
	}
	return n
}

// inMotion is how many replacements are under way.
func inMotion(view View) int {
	n := leaving(view)
	for _, r := range view.Runners {
		if r.Verdict == Starting && !r.Outdated || r.Verdict == Finishing && r.Working == WorkingNo {
			n++
		}
	}
	return n
}

// expendable returns the free runners, in the order in which they are let go:
// outdated ones, then the youngest not yet online, then the oldest idle.
func expendable(view View) []Info {
	var free []Info
	for _, r := range view.Runners {
		if !r.InFlight && (r.Verdict == Idle || r.Verdict == Starting) {
			free = append(free, r)
		}
	}
	rank := func(r Info) int {
		switch {
		case r.Outdated:
			return 0
		case r.Verdict == Starting:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(free, func(a, b Info) int {
		byAge := a.Created.Compare(b.Created)
		if a.Verdict == Starting && b.Verdict == Starting {
			byAge = -byAge
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), byAge)
	})
	return free
}
