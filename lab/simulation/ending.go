package simulation

import (
	"strings"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

// converge waits until all is as it should be.
func (l *life) converge() {
	if l.removed.Load() {
		return
	}
	l.cancelQueued()
	l.attempt(hook("config-changed"))
	quiet := 0
	for quiet < patience {
		if !l.working() && len(l.unsettled()) == 0 {
			break
		}
		if _, message := l.unit.shown(); strings.Contains(message, "or flush the runners first") {
			l.run(call{kind: juju.KindAction, name: "flush-runners"}) // as the status asks for
		}
		time.Sleep(updateInterval)
		l.attempt(hook("update-status"))
		if !l.working() {
			quiet++
		}
	}
	if problems := l.unsettled(); len(problems) > 0 {
		l.violate("%d update-status hooks after everything was mended: %v", patience, problems)
		return
	}
	l.proveWork()
}

// proveWork lets every runner do a job.
func (l *life) proveWork() {
	count := l.unit.wanted().Count
	if count == 0 {
		return
	}
	l.queueJobs(github.JobRequest{Count: count, Duration: 10 * time.Second, Name: "proof"})
	time.Sleep(time.Minute)
	for _, job := range l.world.github.Jobs() {
		if job.Name == "proof" && job.Conclusion != runnerapp.Success {
			l.violate("job %d, which comes when all is well, is %s %s", job.ID, job.Status, job.Conclusion)
		}
	}
	l.attempt(hook("update-status"))
	if problems := l.unsettled(); len(problems) > 0 {
		l.violate("after jobs that came when all was well: %v", problems)
	}
}

// retire removes the unit and checks that nothing of it is left.
func (l *life) retire() {
	if !l.removed.Load() {
		l.unit.die()
		l.stopped.Store(true)
		l.attempt(hook("stop"))
		l.attempt(hook("remove"))
	}
	// What is known not to be removable at once: registrations of machines that
	// died with a job.
	time.Sleep(20 * time.Minute)
	for _, left := range l.world.leftovers() {
		// A registration that GitHub did not show then can't be known.
		if !l.blind || !strings.HasPrefix(left, "registration ") {
			l.violate("after the unit was removed there is %s", left)
		}
	}
}
