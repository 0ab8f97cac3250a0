package metrics

import "time"

// Job is what GitHub knows of the job that a runner took. The zero value of
// each field means that it did not tell.
type Job struct {
	CreatedAt  time.Time
	StartedAt  time.Time
	Conclusion string
}

// Life is what is known of a runner when it has ended.
type Life struct {
	// Flavor is the name of the application.
	Flavor string
	// Installed is when it was ready for a job; zero when nobody saw it.
	Installed time.Time
	// PreJob is nil when no job came, or none that can be believed.
	PreJob *PreJob
	// PostJob is nil when the runner did not say how it ended.
	PostJob *PostJob
	Job     Job
}

// Events returns the events of a runner's end: none when no job came, the
// start of its job, and the stop where the runner told it. A start without its
// stop is a crash. Durations are never negative, whatever the clocks say.
func Events(life Life) []Event {
	pre := life.PreJob
	if pre == nil {
		return nil
	}
	start := RunnerStart{
		Timestamp:   pre.Timestamp,
		Flavor:      life.Flavor,
		Workflow:    pre.Workflow,
		Repository:  pre.Repository,
		GithubEvent: pre.Event,
	}
	if !life.Installed.IsZero() {
		start.Idle = between(life.Installed, pre.Timestamp)
	}
	if !life.Job.CreatedAt.IsZero() && !life.Job.StartedAt.IsZero() {
		queued := between(life.Job.CreatedAt, life.Job.StartedAt)
		start.QueueDuration = &queued
	}
	post := life.PostJob
	if post == nil {
		return []Event{start}
	}
	return []Event{start, RunnerStop{
		Timestamp:     post.Timestamp,
		Flavor:        life.Flavor,
		Workflow:      pre.Workflow,
		Repository:    pre.Repository,
		GithubEvent:   pre.Event,
		Status:        post.Status,
		StatusCode:    post.Code,
		JobDuration:   between(pre.Timestamp, post.Timestamp),
		JobConclusion: life.Job.Conclusion,
	}}
}

func between(from, to time.Time) time.Duration {
	return max(to.Sub(from), 0)
}
