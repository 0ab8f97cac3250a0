package charm

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/metrics"
	"github-runner/charm/runner"
)

// Jobs is asked what GitHub knows of the job that a runner took.
type Jobs interface {
	Job(ctx context.Context, scope runner.Scope, job metrics.PreJob, runnerName string) (metrics.Job, error)
}

// Journal writes the events of runners' lives to the metrics log. What it can't
// write it says in the log; it never fails anything else.
type Journal struct {
	// Flavor is the name of the application.
	Flavor string
	File   metrics.Log
	Jobs   Jobs
	Log    *logrus.Entry
}

var _ runner.Journal = Journal{}

// Online implements runner.Journal.
func (j Journal) Online(_ string, after time.Duration) {
	j.write(metrics.RunnerInstalled{Timestamp: time.Now(), Flavor: j.Flavor, Duration: after})
}

// Ended implements runner.Journal. What the runner wrote is hostile: a file
// that can't be believed costs the runner its own events.
func (j Journal) Ended(ctx context.Context, r runner.Info, remains runner.Remains, came time.Time) {
	life := metrics.Life{Flavor: j.Flavor, Installed: came}
	if life.Installed.IsZero() {
		life.Installed = r.Created
	}
	log := j.Log.WithField("runner", r.Name)
	if remains.PreJob == nil {
		return
	}
	pre, err := metrics.ParsePreJob(r.Name, remains.PreJob)
	if err != nil {
		log.WithError(err).Warn("a runner's metrics are dropped")
		return
	}
	life.PreJob = &pre
	if remains.PostJob != nil {
		post, err := metrics.ParsePostJob(r.Name, remains.PostJob)
		if err != nil {
			log.WithError(err).Warn("a runner's metrics are dropped")
		} else {
			life.PostJob = &post
		}
	}
	asking, cancel := outlast(ctx, jobPatience)
	defer cancel()
	life.Job, err = j.Jobs.Job(asking, r.Scope, pre, r.Name)
	if err != nil {
		log.WithError(err).Info("GitHub does not tell about a job: its queue time and conclusion are left out")
	}
	j.write(metrics.Events(life)...)
}

// jobPatience is how long GitHub has to tell of a job once who asks is called off: the
// runner is gone, and nobody asks again. Who waits for the unit waits for that.
const jobPatience = time.Second

// outlast returns a context that ends so much later than another.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// Reconciled implements runner.Journal. It closes the story of a reconcile in
// the log.
func (j Journal) Reconciled(result runner.Result, took time.Duration) {
	j.Log.Infof("reconciled in %.1f s; %s", took.Seconds(), steady(result).message)
	j.write(metrics.Reconciliation{
		Timestamp:      time.Now(),
		Flavor:         j.Flavor,
		CrashedRunners: result.Crashed,
		IdleRunners:    result.View.Count(runner.Idle),
		Duration:       took,
	})
}

func (j Journal) write(events ...metrics.Event) {
	if err := j.File.Write(events...); err != nil {
		j.Log.WithError(err).Warn("events are lost")
	}
}
