package simulation

import (
	"fmt"
	"testing"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/github"
)

// TestJobAtEachMoment lets a job come a little before, while and after runners
// are let go. GitHub shows late that a runner is busy, and lets one be deleted
// that has just taken a job.
func TestJobAtEachMoment(t *testing.T) {
	const step = oneIn * 500 * time.Millisecond
	action := func(name, mode string) func(*life) {
		return func(l *life) {
			l.queue(call{kind: juju.KindAction, name: name, params: map[string]any{"mode": mode}})
		}
	}
	for name, event := range map[string]func(*life){
		"idle flush":       action("flush-runners", "flush-idle"),
		"idle flush, wait": action("flush-runners", "flush-idle-wait-repo-check"),
		"no more runners":  func(l *life) { l.configure("virtual-machines", int64(0)) },
		"other resources":  func(l *life) { l.configure("vm-cpu", int64(4)) },
		"another path":     func(l *life) { l.configure("path", "acme/other") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for after := -3 * time.Second; after < 9*time.Second; after += step {
				p := Plan{Name: fmt.Sprintf("%s, a job %v after it", name, after), Calm: 8 * time.Minute, Config: map[string]any{
					"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(2),
				}}
				p.add(time.Minute, func(l *life) {
					l.troubleGitHub(github.Fault{Kind: github.FaultLag, Delay: time.Minute}, p.Calm)
					l.troubleGitHub(github.Fault{Kind: github.FaultLateDelete, Delay: 2500 * time.Millisecond}, p.Calm)
				}, "GitHub tells and knows late of jobs")
				p.add(2*time.Minute, event, "%s", name)
				p.add(2*time.Minute+after, func(l *life) {
					l.queueJobs(github.JobRequest{Count: 1, Duration: 2 * time.Minute, Name: "build"})
				}, "a job")
				p.sort()
				live(t, p)
			}
		})
	}
}
