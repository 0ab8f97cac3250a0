package github_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

// runs are the states of the workflow runs in an answer, the first one first.
func (s stand) runs(query string) (total int, states []string) {
	s.t.Helper()
	got := s.call("GET", "/repos/acme/widgets/actions/runs"+query, "")
	var list struct {
		Total int `json:"total_count"`
		Runs  []struct {
			ID         int64
			Status     string
			Conclusion string
		} `json:"workflow_runs"`
	}
	if err := json.Unmarshal(got.body, &list); err != nil || got.status != 200 {
		s.t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	for _, run := range list.Runs {
		states = append(states, run.Status+run.Conclusion)
	}
	return list.Total, states
}

func TestRuns(t *testing.T) {
	s := newStand(t, github.Options{})
	s.queue(github.JobRequest{Repository: "acme/widgets", Count: 2, OneRun: true})
	s.queue(github.JobRequest{Repository: "acme/widgets", Labels: []string{"gpu"}})
	s.queue(github.JobRequest{Repository: "acme/other"})
	total, states := s.runs("?status=queued&per_page=1")
	if diff := cmp.Diff([]string{"queued"}, states); diff != "" || total != 2 {
		t.Errorf("of %d queued runs (-want +got):\n%s", total, diff)
	}
	_, jit := s.register("one", `"self-hosted"`)
	one := s.online(t.Context(), jit)
	job, err := one.NextJob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect := func(query string, want ...string) {
		t.Helper()
		if _, states := s.runs(query); !cmp.Equal(want, states) {
			t.Errorf("runs%s are %q, want %q", query, states, want)
		}
	}
	expect("", "queued", "in_progress")
	expect("?status=in_progress", "in_progress")
	if err := one.Finish(t.Context(), job.ID, runnerapp.Failure); err != nil {
		t.Fatal(err)
	}
	expect("?status=in_progress", "in_progress") // its second job still waits
	s.End(nil, runnerapp.Cancelled)
	expect("?status=completed", "completedcancelled", "completedcancelled")
	expect("?status=queued")
}
