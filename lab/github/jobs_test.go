package github_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

func TestOneJobOneRunner(t *testing.T) {
	s := newStand(t, github.Options{})
	_, jit := s.register("small", `"self-hosted","small"`)
	small := s.online(t.Context(), jit)
	id, jit := s.register("large", `"self-hosted","LARGE"`)
	large := s.online(t.Context(), jit)
	s.wait(github.Condition{Idle: exactly(2)})

	s.queue(github.JobRequest{Count: 2, Labels: []string{"Large", "self-hosted"}, Event: "pull_request", Script: "true"})
	job, err := large.NextJob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if job.Repository != "acme/widgets" || job.Event != "pull_request" || job.Script != "true" || job.HeadSHA == "" || job.BaseRef != "main" {
		t.Errorf("the job is %+v", job)
	}
	var event struct {
		PullRequest struct{ Head struct{ SHA string } } `json:"pull_request"`
	}
	if err := json.Unmarshal(job.EventPayload, &event); err != nil || event.PullRequest.Head.SHA != job.HeadSHA {
		t.Errorf("the event is %s", job.EventPayload)
	}
	s.wait(github.Condition{Jobs: github.InProgress, Count: 1, Busy: exactly(1), Idle: exactly(1)})
	if got := s.call("DELETE", fmt.Sprint(runners, "/", id), ""); got.status != 422 {
		t.Errorf("removing a busy runner: %d, want 422", got.status)
	}
	if err := large.Log(t.Context(), job.ID, "all is well\n"); err != nil {
		t.Error(err)
	}
	if err := large.Finish(t.Context(), job.ID, runnerapp.Success); err != nil {
		t.Fatal(err)
	}
	if _, err := large.NextJob(t.Context()); !errors.Is(err, runnerapp.ErrGone) {
		t.Errorf("after its job the runner gets %v, want ErrGone", err)
	}
	s.wait(github.Condition{Registered: exactly(1), Idle: exactly(1)})
	jobs := s.Jobs()
	if jobs[0].Conclusion != "success" || jobs[0].Log != "all is well\n" || jobs[0].Runner != "large" || jobs[1].Status != github.Queued {
		t.Errorf("the jobs are %+v", jobs)
	}
	got := s.call("GET", fmt.Sprintf("/repos/acme/widgets/actions/runs/%d/jobs", job.RunID), "")
	var list struct {
		Total int `json:"total_count"`
		Jobs  []struct {
			Conclusion string
			Runner     string    `json:"runner_name"`
			Started    time.Time `json:"started_at"`
		}
	}
	if err := json.Unmarshal(got.body, &list); err != nil || list.Total != 1 || list.Jobs[0].Conclusion != "success" || list.Jobs[0].Runner != "large" || list.Jobs[0].Started.IsZero() {
		t.Errorf("the API shows %s", got.body)
	}
	if err := small.Close(); err != nil {
		t.Error(err)
	}
	s.wait(github.Condition{Online: exactly(0), Registered: exactly(1)})
}

func TestJobsGoWhereTheyBelong(t *testing.T) {
	s := newStand(t, github.Options{})
	_, jit := s.register("one", `"self-hosted"`)
	s.online(t.Context(), jit)
	s.wait(github.Condition{Idle: exactly(1)})
	s.queue(github.JobRequest{Repository: "acme/other"})
	s.queue(github.JobRequest{Labels: []string{"gpu"}})
	s.wait(github.Condition{Idle: exactly(1), Jobs: github.Queued, Count: 2})
	s.queue(github.JobRequest{Repository: "ACME/widgets"})
	s.wait(github.Condition{Busy: exactly(1), Jobs: github.InProgress, Count: 1})
}

func TestSessions(t *testing.T) {
	s := newStand(t, github.Options{OfflineAfter: 50 * time.Millisecond})
	id, jit := s.register("one", `"x"`)
	session := s.online(t.Context(), jit)
	again, err := runnerapp.Open(jit)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Online(t.Context()); !errors.Is(err, runnerapp.ErrConflict) {
		t.Errorf("a second session gives %v, want ErrConflict", err)
	}
	if got := s.call("DELETE", fmt.Sprint(runners, "/", id), ""); got.status != 204 {
		t.Fatal(got.status)
	}
	if _, err := session.NextJob(t.Context()); !errors.Is(err, runnerapp.ErrGone) {
		t.Errorf("a removed runner gets %v, want ErrGone", err)
	}
	if err := again.Online(t.Context()); !errors.Is(err, runnerapp.ErrGone) {
		t.Errorf("a session of a removed runner gives %v, want ErrGone", err)
	}
	if got := s.call("POST", fmt.Sprintf("/_runner/%d/session", id), "null", "Authorization", "Bearer wrong"); got.status != 410 {
		t.Errorf("a wrong key: %d, want 410", got.status)
	}
}

func TestRunnerThatVanishes(t *testing.T) {
	s := newStand(t, github.Options{OfflineAfter: 50 * time.Millisecond, LostAfter: 50 * time.Millisecond})
	ctx, pull := context.WithCancel(t.Context())
	_, jit := s.register("idle", `"idle"`)
	s.online(ctx, jit)
	_, jit = s.register("busy", `"self-hosted"`)
	s.online(ctx, jit)
	s.queue(github.JobRequest{Duration: time.Hour})
	s.wait(github.Condition{Jobs: github.InProgress, Count: 1, Idle: exactly(1), Busy: exactly(1)})
	pull()
	s.wait(github.Condition{Jobs: github.Completed, Online: exactly(0), Registered: exactly(1)})
	if job := s.Jobs()[0]; job.Conclusion != runnerapp.Failure {
		t.Errorf("the lost job is %+v", job)
	}
}

func TestLingeringRunnerStaysBusy(t *testing.T) {
	s := newStand(t, github.Options{OfflineAfter: 20 * time.Millisecond, LostAfter: time.Millisecond})
	s.fault(github.Fault{Kind: github.FaultLinger, Delay: time.Hour})
	ctx, pull := context.WithCancel(t.Context())
	id, jit := s.register("busy", `"self-hosted"`)
	s.online(ctx, jit)
	s.queue(github.JobRequest{Duration: time.Hour})
	s.wait(github.Condition{Jobs: github.InProgress})
	pull()
	s.wait(github.Condition{Online: exactly(0)})
	if got := s.call("DELETE", fmt.Sprint(runners, "/", id), ""); got.status != 422 {
		t.Errorf("removing it: %d, want 422", got.status)
	}
}

func TestLaggingBusyAndLateDelete(t *testing.T) {
	s := newStand(t, github.Options{})
	s.fault(github.Fault{Kind: github.FaultLag, Delay: time.Hour})
	s.fault(github.Fault{Kind: github.FaultLateDelete, Delay: time.Hour})
	id, jit := s.register("one", `"self-hosted"`)
	session := s.online(t.Context(), jit)
	s.queue(github.JobRequest{})
	job, err := session.NextJob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var shown struct{ Busy bool }
	if err := json.Unmarshal(s.call("GET", fmt.Sprint(runners, "/", id), "").body, &shown); err != nil || shown.Busy {
		t.Errorf("it is shown as busy (%v)", err)
	}
	if got := s.call("DELETE", fmt.Sprint(runners, "/", id), ""); got.status != 204 {
		t.Errorf("removing it: %d, want 204", got.status)
	}
	if got := s.call("GET", fmt.Sprint(runners, "/", id), ""); got.status != 404 {
		t.Errorf("then it is there: %d", got.status)
	}
	if list := s.Runners(); len(list) != 1 || !list[0].Removed || !list[0].Busy {
		t.Errorf("its job does not run on: %+v", list)
	}
	if err := session.Finish(t.Context(), job.ID, runnerapp.Success); err != nil {
		t.Errorf("its job can't end: %v", err)
	}
	s.wait(github.Condition{Jobs: github.Completed})
}

func TestEnd(t *testing.T) {
	s := newStand(t, github.Options{})
	_, jit := s.register("one", `"self-hosted"`)
	session := s.online(t.Context(), jit)
	made := s.queue(github.JobRequest{Count: 2, Duration: time.Hour})
	job, err := session.NextJob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.End([]int64{made[0].ID}, runnerapp.Failure)
	conclusion, err := session.Work(t.Context(), job)
	if err != nil || conclusion != runnerapp.Failure {
		t.Errorf("the work ends with %q, %v", conclusion, err)
	}
	s.End(nil, runnerapp.Success)
	if queued := s.Jobs()[1]; queued.Status != github.Completed || queued.Conclusion != runnerapp.Cancelled {
		t.Errorf("the queued one is %+v", queued)
	}
}

func TestBadJobs(t *testing.T) {
	s := newStand(t, github.Options{})
	for name, job := range map[string]github.JobRequest{
		"too few":       {Count: -1},
		"too many":      {Count: 10001},
		"no repository": {Repository: "acme"},
		"half a one":    {Repository: "acme/"},
		"no JSON":       {Payload: json.RawMessage("{")},
	} {
		if _, err := s.Queue(job); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(s.Jobs()) != 0 {
		t.Error("a bad job is in the queue")
	}
}
