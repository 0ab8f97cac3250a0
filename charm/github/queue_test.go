package github_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github-runner/charm/runner"
	lab "github-runner/lab/github"
)

func (w world) queue(request lab.JobRequest) []lab.JobInfo {
	w.t.Helper()
	jobs, err := w.Queue(request)
	if err != nil {
		w.t.Fatal(err)
	}
	return jobs
}

func TestQueue(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	client := w.client(nil)
	w.queue(lab.JobRequest{Repository: "acme/other"})
	// Of one run, one job has begun and the other waits.
	matrix := w.queue(lab.JobRequest{Repository: "acme/widgets", Count: 2, OneRun: true, Name: "test", Labels: []string{"self-hosted"}})
	w.busy(ctx, client, w.repository(), "busy")
	gpu := w.queue(lab.JobRequest{Repository: "acme/widgets", Name: strings.Repeat("x", 300), Labels: []string{"self-hosted", "GPU"}})
	w.queue(lab.JobRequest{Repository: "acme/widgets", Count: 10})

	queue, err := client.Queue(ctx, w.repository())
	if err != nil {
		t.Fatal(err)
	}
	if len(queue.Jobs) != 11 || queue.Unseen != 1 {
		t.Fatalf("%d jobs, %d runs unseen, want 11 and 1: %v", len(queue.Jobs), queue.Unseen, queue.Jobs)
	}
	last := queue.Jobs[10]
	want := runner.QueuedJob{Name: "test", Workflow: "CI", RunID: matrix[1].RunID, Labels: []string{"self-hosted"}}
	if diff := cmp.Diff(want, last, cmpopts.IgnoreFields(runner.QueuedJob{}, "Since")); diff != "" || time.Since(last.Since) > time.Minute {
		t.Errorf("the job of a run that has begun, since %v (-want +got):\n%s", last.Since, diff)
	}

	w.End(jobIDs(w.Jobs(), func(j lab.JobInfo) bool { return j.ID != gpu[0].ID }), "cancelled")
	queue, err = client.Queue(ctx, w.repository())
	if err != nil || len(queue.Jobs) == 0 {
		t.Fatalf("%v, %v", queue, err)
	}
	if first := queue.Jobs[0]; len(first.Name) > 110 || first.RunID != gpu[0].RunID || !cmp.Equal(first.Labels, []string{"self-hosted", "GPU"}) {
		t.Errorf("the job is %+v", first)
	}
}

func jobIDs(jobs []lab.JobInfo, include func(lab.JobInfo) bool) []int64 {
	var ids []int64
	for _, j := range jobs {
		if include(j) {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

// An unchanged list of runs costs nothing of the rate limit.
func TestQueueIsAskedForConditionally(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	client := w.client(nil)
	for range 2 {
		if queue, err := client.Queue(ctx, w.repository()); err != nil || len(queue.Jobs) != 0 || queue.Unseen != 0 {
			t.Fatalf("%v, %v", queue, err)
		}
	}
	if total, notModified := w.calls(); total != 4 || notModified != 2 {
		t.Errorf("%d calls, %d of them free, want 4 and 2", total, notModified)
	}
}

func TestQueueRefused(t *testing.T) {
	tests := []struct {
		name  string
		fault lab.Fault
		kind  error
		text  string
	}{
		{"no permission", lab.Fault{Kind: lab.FaultStatus, Status: 403, Message: "Resource not accessible by personal access token", On: "runs"},
			runner.ErrForbidden, "give the token the right to read the actions of acme/widgets"},
		{"hidden", lab.Fault{Kind: lab.FaultStatus, Status: 404, On: "runs"},
			runner.ErrNotFound, "give the token the right to read the actions of acme/widgets"},
		{"no answer", lab.Fault{Kind: lab.FaultDown, On: "run-jobs"}, runner.ErrUnreachable, "cannot list the jobs of run"},
		{"nonsense", lab.Fault{Kind: lab.FaultBody, Status: 200, Body: "{}", On: "runs"}, runner.ErrUnreachable, "it lists no workflow runs"},
		{"a run without id", lab.Fault{Kind: lab.FaultBody, Status: 200, Body: `{"total_count":1,"workflow_runs":[{}]}`, On: "runs"}, runner.ErrUnreachable, "without id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, lab.Options{})
			w.queue(lab.JobRequest{Repository: "acme/widgets"})
			w.fault(test.fault)
			_, err := w.client(nil).Queue(testContext(t), w.repository())
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.kind, test.text)
			}
		})
	}
}

// A run may be deleted after it was listed.
func TestQueueWithoutADeletedRun(t *testing.T) {
	w := newWorld(t, lab.Options{})
	w.queue(lab.JobRequest{Repository: "acme/widgets", Count: 2})
	w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 404, On: "run-jobs", Count: 1})
	queue, err := w.client(nil).Queue(testContext(t), w.repository())
	if err != nil || len(queue.Jobs) != 1 {
		t.Errorf("%v, %v, want 1 job", queue, err)
	}
}

func TestQueueOfAnOrganisation(t *testing.T) {
	w := newWorld(t, lab.Options{})
	if _, err := w.client(nil).Queue(testContext(t), w.organization()); err == nil {
		t.Error("an organisation has a queue")
	}
	if total, _ := w.calls(); total != 0 {
		t.Errorf("%d calls", total)
	}
}
