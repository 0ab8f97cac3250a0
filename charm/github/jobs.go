package github

import (
	"context"
	"fmt"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
)

// Job is what GitHub knows of the job that a runner took.
type Job struct {
	// Created is when it was queued, Started when the runner took it.
	Created time.Time
	Started time.Time
	// Completed is the zero time while it runs.
	Completed time.Time
	// Conclusion is GitHub's word for how it ended, one known today or not;
	// empty while it runs.
	Conclusion string
}

// Job returns the job that a runner took in a workflow run of a repository
// ("owner/name"), which a runner named: it is checked, and must belong to the
// scope. runner.ErrNotFound when no job of the run was that runner's.
func (c *Client) Job(ctx context.Context, scope runner.Scope, repo string, runID int64, runnerName string) (Job, error) {
	if err := within(scope, repo); err != nil {
		return Job{}, fmt.Errorf("cannot look up the job of runner %s: %w", runnerName, err)
	}
	target := runner.Scope{API: scope.API, Path: repo}
	for page := 1; page > 0 && page <= maxPages; {
		jobs, next, err := c.jobPage(ctx, scope, target, runID, page)
		if err != nil {
			return Job{}, fmt.Errorf("cannot look up the job of runner %s: %w", runnerName, err)
		}
		for _, job := range jobs {
			if job.GetRunnerName() == runnerName {
				return jobOf(job), nil
			}
		}
		page = next
	}
	return Job{}, fmt.Errorf("cannot look up the job of runner %s: %w in run %d of %s", runnerName, runner.ErrNotFound, runID, repo)
}

func (c *Client) jobPage(ctx context.Context, scope, target runner.Scope, runID int64, page int) ([]*gh.WorkflowJob, int, error) {
	var jobs []*gh.WorkflowJob
	var next int
	options := &gh.ListWorkflowJobsOptions{ListOptions: gh.ListOptions{PerPage: perPage, Page: page}}
	missing := refusal{notFound: fmt.Sprintf("run %d of %s", runID, target)}
	credential := c.credentials(scope)[0]
	err := c.do(ctx, call{scope: target, credential: credential, refusal: missing}, func(ctx context.Context, api *gh.ActionsService) error {
		answer, response, err := api.ListWorkflowJobs(ctx, owner(target), repository(target), runID, options)
		if err != nil {
			return err
		}
		if answer == nil || answer.TotalCount == nil {
			return badAnswer("it lists no jobs")
		}
		for _, job := range answer.Jobs {
			if job.GetID() <= 0 {
				return badAnswer("it tells of a job without id")
			}
		}
		jobs, next = answer.Jobs, response.NextPage
		if next != 0 && next <= page {
			return badAnswer("after page %d comes page %d", page, next)
		}
		return nil
	})
	return jobs, next, err
}

func jobOf(job *gh.WorkflowJob) Job {
	return Job{
		Created:    job.GetCreatedAt().Time,
		Started:    job.GetStartedAt().Time,
		Completed:  job.GetCompletedAt().Time,
		Conclusion: job.GetConclusion(),
	}
}

// within checks that a repository is the scope's, or one of its organisation.
func within(scope runner.Scope, repo string) error {
	account, name, ok := strings.Cut(repo, "/")
	if !ok || !isName(account) || !isName(name) {
		return fmt.Errorf("%q is no repository", repo)
	}
	if strings.EqualFold(repo, scope.Path) || (scope.IsOrganization() && strings.EqualFold(account, scope.Path)) {
		return nil
	}
	return fmt.Errorf("repository %q is not of %s", repo, scope)
}

func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return s != "" && len(s) <= 100 && s != "." && s != ".." && strings.Trim(s, letters) == ""
}
