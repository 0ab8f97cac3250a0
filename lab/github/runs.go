package github

import (
	"net/http"
	"strings"
	"time"

	"github-runner/lab/runnerapp"
)

// run is a workflow run: jobs with one number.
type run struct {
	id   int64
	jobs []*job
}

// status is GitHub's word for how far a run is: it waits until its first job has a
// runner, and is over with its last one.
func (r run) status() string {
	counts := map[string]int{}
	for _, j := range r.jobs {
		counts[j.status]++
	}
	for _, status := range []string{Queued, Completed} {
		if counts[status] == len(r.jobs) {
			return status
		}
	}
	return InProgress
}

// listRuns lists the runs of a repository, the latest first; one that was queued
// for no repository in particular is nowhere until a runner has taken it.
func (s *Server) listRuns(c *apiCall) reply {
	repository, _ := c.scope()
	wanted := c.URL.Query().Get("status")
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := []map[string]any{}
	for _, r := range s.runsOf(repository) {
		if wanted == "" || wanted == r.status() {
			shown = append(shown, r.json())
		}
	}
	some, header := page(c, shown)
	return reply{http.StatusOK, header, map[string]any{"total_count": len(shown), "workflow_runs": some}}
}

// runsOf groups the jobs of a repository. The lock is held.
func (s *Server) runsOf(repository string) []run {
	var runs []run
	for i := len(s.jobs) - 1; i >= 0; i-- {
		j := s.jobs[i]
		if !strings.EqualFold(j.Repository, repository) {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].id == j.RunID {
			runs[last].jobs = append(runs[last].jobs, j)
			continue
		}
		runs = append(runs, run{j.RunID, []*job{j}})
	}
	return runs
}

// json is a run in GitHub's form, as far as anyone looks at it.
func (r run) json() map[string]any {
	first := r.jobs[len(r.jobs)-1]
	shown := map[string]any{
		"id":          r.id,
		"name":        first.Workflow,
		"event":       first.Event,
		"head_branch": first.RefName,
		"head_sha":    first.HeadSHA,
		"run_attempt": 1,
		"status":      r.status(),
		"conclusion":  nil,
		"created_at":  first.created.Format(time.RFC3339),
	}
	if r.status() == Completed {
		shown["conclusion"] = r.conclusion()
	}
	return shown
}

// conclusion is that of the first job that did not go well, if there is one.
func (r run) conclusion() string {
	for _, j := range r.jobs {
		if j.conclusion != runnerapp.Success {
			return j.conclusion
		}
	}
	return runnerapp.Success
}
