package github

import (
	"context"
	"errors"
	"fmt"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
)

const (
	// maxQueuedRuns is how many workflow runs of each state are looked into: a
	// call each, which a unit must not spend the token's budget on.
	maxQueuedRuns = 10
	// maxName bounds names and labels of jobs, which anybody may choose who can
	// write to the repository.
	maxName = 100
)

// Queue returns the jobs of a repository that wait for a runner, for which it makes
// at most 22 calls. Those of the latest runs are looked for, also in runs of which
// other jobs have begun. An organisation has no such list, which is an error, and
// runner.ErrForbidden says that the token may not read it.
func (c *Client) Queue(ctx context.Context, scope runner.Scope) (runner.Queue, error) {
	if scope.IsOrganization() {
		return runner.Queue{}, fmt.Errorf("cannot list the queued jobs of %s: GitHub has no such list of an organisation", scope)
	}
	defer c.answers.save()
	var queue runner.Queue
	for _, status := range []string{"queued", "in_progress"} {
		runs, total, err := c.runs(ctx, scope, status)
		if err != nil {
			return runner.Queue{}, fmt.Errorf("cannot list the workflow runs of %s: %w", scope, err)
		}
		queue.Unseen += max(0, total-len(runs))
		for _, run := range runs {
			// Only the first hundred: more are of no use to a person.
			jobs, _, err := c.jobPage(ctx, scope, scope, run.GetID(), 1)
			if errors.Is(err, runner.ErrNotFound) {
				continue // deleted since
			}
			if err != nil {
				return runner.Queue{}, fmt.Errorf("cannot list the jobs of run %d of %s: %w", run.GetID(), scope, err)
			}
			queue.Jobs = append(queue.Jobs, queuedOf(run, jobs)...)
		}
	}
	return queue, nil
}

// runs are the latest workflow runs of a status, and how many there are in all.
func (c *Client) runs(ctx context.Context, scope runner.Scope, status string) (runs []*gh.WorkflowRun, total int, err error) {
	advice := fmt.Sprintf("give the token the right to read the actions of %s", scope)
	refused := refusal{forbiddenAdvice: advice, notFoundAdvice: advice}
	options := &gh.ListWorkflowRunsOptions{Status: status, ListOptions: gh.ListOptions{PerPage: maxQueuedRuns}}
	err = c.do(ctx, call{scope: scope, credential: c.options.Credential, refusal: refused}, func(ctx context.Context, api *gh.ActionsService) error {
		answer, _, err := api.ListRepositoryWorkflowRuns(ctx, owner(scope), repository(scope), options)
		if err != nil {
			return err
		}
		if answer == nil || answer.TotalCount == nil {
			return badAnswer("it lists no workflow runs")
		}
		for _, run := range answer.WorkflowRuns {
			if run.GetID() <= 0 {
				return badAnswer("it tells of a workflow run without id")
			}
		}
		runs = answer.WorkflowRuns[:min(len(answer.WorkflowRuns), maxQueuedRuns)]
		total = answer.GetTotalCount()
		return nil
	})
	return runs, total, err
}

// queuedOf are those of a run's jobs that wait.
func queuedOf(run *gh.WorkflowRun, jobs []*gh.WorkflowJob) []runner.QueuedJob {
	var queued []runner.QueuedJob
	for _, job := range jobs {
		if job.GetStatus() != "queued" {
			continue
		}
		one := runner.QueuedJob{
			Name:     brief(job.GetName()),
			Workflow: brief(either(job.GetWorkflowName(), run.GetName())),
			RunID:    run.GetID(),
			Since:    job.GetCreatedAt().Time,
		}
		for _, label := range job.Labels {
			one.Labels = append(one.Labels, brief(label))
		}
		queued = append(queued, one)
	}
	return queued
}

func brief(text string) string {
	if runes := []rune(text); len(runes) > maxName {
		return string(runes[:maxName]) + "…"
	}
	return text
}
