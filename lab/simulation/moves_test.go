package simulation

import (
	"testing"
	"time"

	"github-runner/lab/github"
)

// TestMoves lets a unit have its runners on LXD, and on OpenStack again, with a job at
// work each time: the last job ends on the cloud that it began on.
func TestMoves(t *testing.T) {
	p := Plan{Name: "moves", OpenStack: true, Neighbours: true, Calm: time.Hour, Config: map[string]any{
		"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(2),
	}}
	job := func(l *life) { l.queueJobs(github.JobRequest{Duration: 5 * time.Minute, Name: "build"}) }
	are := func(onLXD, onOpenStack int) func(*life) {
		return func(l *life) {
			ours := 0
			for _, one := range l.world.openStack.Possessions().Servers {
				if isOurs(one) {
					ours++
				}
			}
			if have := len(l.world.daemon().Possessions().Instances); have != onLXD || ours != onOpenStack {
				l.violate("%d instances and %d servers are there, not %d and %d", have, ours, onLXD, onOpenStack)
			}
		}
	}
	p.add(4*time.Minute, job, "a job")
	p.add(5*time.Minute, (*life).moveToLXD, "to LXD")
	p.add(8*time.Minute, are(0, 1), "the job is at work, and nothing else")
	p.add(25*time.Minute, are(2, 0), "all are on LXD")
	p.add(26*time.Minute, job, "a job")
	p.add(27*time.Minute, (*life).moveToOpenStack, "to OpenStack")
	p.add(30*time.Minute, are(1, 0), "the job is at work, and nothing else")
	p.add(50*time.Minute, are(0, 2), "all are on OpenStack")
	live(t, p)
}
