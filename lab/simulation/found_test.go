package simulation

import (
	"testing"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/github"
	"github-runner/lab/lxd"
)

// TestFound lives again through what seeds have found, cut down to what matters.
// What a seed decides changes with the dice; these plans do not.
func TestFound(t *testing.T) {
	flush := call{kind: juju.KindAction, name: "flush-runners"}
	for _, found := range []struct {
		why        string
		neighbours bool
		events     func(*Plan)
	}{
		{
			why: "LXD forgets an operation before it tells of its end: the create fails, its runner has a job, and undoing the create killed it",
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) {
					l.troubleLXD(lxd.Fault{Kind: lxd.SlowAnswers, Name: "/1.0/operations*", For: 7 * time.Second}, 10*time.Minute)
				}, "LXD is slow to tell of operations")
				p.add(3*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Count: 4, Duration: 5 * time.Minute, Name: "build"}) }, "4 jobs")
				p.add(9*time.Minute, func(l *life) { l.queue(flush) }, "%s", flush)
			},
		},
		{
			why:        "an instance of an operator's under a name of the unit's lies on the shared pool: the unit could not move to other storage",
			neighbours: true,
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) { l.configure("virtual-machines", int64(0)) }, "no runners")
				p.add(3*time.Minute, func(l *life) { l.configure("runner-storage", "memory") }, "storage in memory")
				p.add(4*time.Minute, func(l *life) { l.configure("virtual-machines", int64(2)) }, "2 runners")
			},
		},
		{
			why: "LXD takes its time to list the instances: who wanted the unit waited for the agent's look",
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) {
					l.troubleLXD(lxd.Fault{Kind: lxd.SlowAnswers, Name: "/1.0/instances*", For: 20 * time.Second}, 6*time.Minute)
				}, "LXD is slow to tell of instances")
				p.add(3*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 3 * time.Minute, Name: "build"}) }, "a job")
				p.add(3*time.Minute+2*time.Second, func(l *life) { l.queue(flush) }, "%s", flush)
			},
		},
		{
			why: "the unit's state can't be written: the agent, which knows the last one, removed the runners that each hook made",
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) { l.holdState(15 * time.Minute) }, "the state can't be written")
				p.add(3*time.Minute, func(l *life) { l.configure("virtual-machines", int64(3)) }, "3 runners")
			},
		},
		{
			why: "the unit's state can't be written, and creates fail: the agent forgot that they had failed, and made runners without end",
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) { l.holdState(17 * time.Minute) }, "the state can't be written")
				p.add(3*time.Minute, func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.LostAnswer}, 16*time.Minute) }, "LXD's answers are lost")
				p.add(3*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Count: 2, Duration: 10 * time.Second, Name: "short"}) }, "2 jobs")
			},
		},
		{
			why: "a back-off outlasts the calm: the simulation expected a runner at once all the same",
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 19 * time.Minute, Name: "long"}) }, "a long job")
				p.add(4*time.Minute, func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.CreateHalf}, 30*time.Minute) }, "creates fail")
				p.add(5*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: time.Minute, Name: "short"}) }, "a job")
			},
		},
		{
			why: "storage that may not be changed while jobs are on the other: the simulation expected runners all the same",
			events: func(p *Plan) {
				p.add(2*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 20 * time.Minute, Name: "short"}) }, "a job")
				p.add(2*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 40 * time.Minute, Name: "long"}) }, "a longer job")
				p.add(3*time.Minute, func(l *life) { l.configure("runner-storage", "memory") }, "storage in memory")
			},
		},
		{
			why: "the operator stops an instance that has just started: the simulation counted it still, and the one in its place was one too many",
			events: func(p *Plan) {
				p.add(12*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Count: 2, Duration: 5 * time.Second, Name: "short"}) }, "2 jobs")
				p.add(12*time.Minute+9500*time.Millisecond, (*life).stopOne, "the operator stops an instance")
			},
		},
		{
			why: "the unit's memory is lost before a flush: the agent waited for a hook to say that no previous charm's runners are left",
			events: func(p *Plan) {
				p.add(12*time.Minute, func(l *life) { l.harm("state.json is gone") }, "state.json is gone")
				p.add(12*time.Minute+10*time.Second, func(l *life) { l.queue(flush) }, "%s", flush)
				p.add(13*time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 5 * time.Second, Name: "short"}) }, "a job")
			},
		},
		{
			why: "the unit is removed while LXD packs an image for it: the image came when the unit was gone",
			events: func(p *Plan) {
				p.Config["image-interval"] = int64(7)
				p.add(58*time.Second, (*life).remove, "juju remove-unit")
			},
		},
	} {
		t.Run(found.why, func(t *testing.T) {
			t.Parallel()
			p := Plan{Name: found.why, Neighbours: found.neighbours, Calm: 20 * time.Minute, Config: map[string]any{
				"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(2),
			}}
			found.events(&p)
			live(t, p)
		})
	}
}
