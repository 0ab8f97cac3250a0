// Package metrics writes the events of runners' lives to the metrics log, and
// reads what a runner left about its job. The log's format is a contract: the
// dashboards and alerts of operators read it.
package metrics

import (
	"time"
)

// Event is one line of the metrics log.
type Event interface {
	// encode writes the event's fields in the order of the contract.
	encode() *object
}

// RunnerInstalled says that a runner is ready for a job.
type RunnerInstalled struct {
	// Timestamp is when it became ready.
	Timestamp time.Time
	// Flavor is the name of the application.
	Flavor string
	// Duration is how long it took since the runner was asked for.
	Duration time.Duration
}

// RunnerStart says that a runner took a job.
type RunnerStart struct {
	// Timestamp is when the job arrived, by the runner's clock.
	Timestamp   time.Time
	Flavor      string
	Workflow    string
	Repository  string
	GithubEvent string
	// Idle is how long the runner had waited for it.
	Idle time.Duration
	// QueueDuration is how long the job had waited; nil when GitHub did not
	// tell.
	QueueDuration *time.Duration
}

// RunnerStop says how a job ended. It never comes without its RunnerStart.
type RunnerStop struct {
	// Timestamp is when the job ended, by the runner's clock.
	Timestamp   time.Time
	Flavor      string
	Workflow    string
	Repository  string
	GithubEvent string
	Status      Status
	// StatusCode is the HTTP or exit code behind the status, where there is
	// one.
	StatusCode  *int
	JobDuration time.Duration
	// JobConclusion is GitHub's word for it; empty when it did not tell.
	JobConclusion string
}

// Reconciliation says how a reconcile ended.
type Reconciliation struct {
	Timestamp time.Time
	Flavor    string
	// CrashedRunners is how many took a job and never said how it ended.
	CrashedRunners int
	IdleRunners    int
	Duration       time.Duration
}

func (e RunnerInstalled) encode() *object {
	o := newObject(e.Timestamp, "runner_installed", e.Flavor)
	o.seconds("duration", e.Duration)
	return o
}

func (e RunnerStart) encode() *object {
	o := newObject(e.Timestamp, "runner_start", e.Flavor)
	o.text("workflow", e.Workflow)
	o.text("repo", e.Repository)
	o.text("github_event", e.GithubEvent)
	o.seconds("idle", e.Idle)
	if e.QueueDuration != nil {
		o.seconds("queue_duration", *e.QueueDuration)
	}
	return o
}

func (e RunnerStop) encode() *object {
	o := newObject(e.Timestamp, "runner_stop", e.Flavor)
	o.text("workflow", e.Workflow)
	o.text("repo", e.Repository)
	o.text("github_event", e.GithubEvent)
	o.text("status", string(e.Status))
	if e.StatusCode != nil {
		info := &object{}
		info.integer("code", *e.StatusCode)
		o.object("status_info", info)
	}
	o.seconds("job_duration", e.JobDuration)
	if e.JobConclusion != "" {
		o.text("job_conclusion", e.JobConclusion)
	}
	return o
}

func (e Reconciliation) encode() *object {
	o := newObject(e.Timestamp, "reconciliation", e.Flavor)
	o.integer("crashed_runners", e.CrashedRunners)
	o.integer("idle_runners", e.IdleRunners)
	o.seconds("duration", e.Duration)
	return o
}

// newObject starts an event with the fields that all have.
func newObject(timestamp time.Time, event, flavor string) *object {
	o := &object{}
	o.number("timestamp", float64(timestamp.UnixMicro())/1e6)
	o.text("event", event)
	o.text("flavor", flavor)
	return o
}
