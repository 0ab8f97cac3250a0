package github

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github-runner/lab/runnerapp"
)

// The states of a job, GitHub's words for them.
const (
	Queued     = "queued"
	InProgress = "in_progress"
	Completed  = "completed"
)

const maxLog = 16 << 10

// job is one job of one workflow run.
type job struct {
	runnerapp.Job
	labels     []string
	status     string
	conclusion string
	created    time.Time
	started    time.Time
	completed  time.Time
	runner     *registered
	runnerName string
	runnerID   int64
	// took is set once the runner said that it has it.
	took bool
	log  string
	// headRepository and association are what its event is made up from.
	headRepository, association string
}

// JobRequest asks for jobs in the queue.
type JobRequest struct {
	// Count is how many, default 1.
	Count int `json:"count"`
	// OneRun puts all of them into one workflow run, as a matrix does; otherwise
	// each has a run of its own.
	OneRun bool `json:"one_run,omitempty"`
	// Repository is "owner/name"; empty for whatever the first fitting runner
	// is registered for.
	Repository string `json:"repository"`
	// Labels are those that a runner must have, default self-hosted.
	Labels []string `json:"labels"`
	// Event is the event's name, default workflow_dispatch.
	Event string `json:"event"`
	// Payload is the event's content; made up where empty.
	Payload  json.RawMessage `json:"payload,omitempty"`
	Name     string          `json:"name"`
	Workflow string          `json:"workflow"`
	HeadSHA  string          `json:"head_sha"`
	RefName  string          `json:"ref_name"`
	BaseRef  string          `json:"base_ref"`
	HeadRef  string          `json:"head_ref"`
	// HeadRepository is where a pull request comes from; empty for the repository
	// itself.
	HeadRepository string `json:"head_repository,omitempty"`
	// Association is what the author is to the repository, in GitHub's words;
	// default MEMBER, of a fork NONE.
	Association string `json:"association,omitempty"`
	// Always are steps that run even where something before them failed.
	Always string `json:"always,omitempty"`
	// Duration is how long a job without a Script takes, default 1 s.
	Duration time.Duration `json:"duration"`
	Script   string        `json:"script"`
}

// Queue puts jobs into the queue and returns them.
func (s *Server) Queue(request JobRequest) ([]JobInfo, error) {
	if err := request.complete(); err != nil {
		return nil, fmt.Errorf("cannot queue job: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var made []JobInfo
	for range request.Count {
		j := s.newJob(request)
		if request.OneRun && len(made) > 0 {
			j.RunID = made[0].RunID
		}
		s.jobs = append(s.jobs, j)
		made = append(made, j.info())
	}
	s.assign()
	s.change()
	return made, nil
}

func (r *JobRequest) complete() error {
	if r.Count == 0 {
		r.Count = 1
	}
	if r.Count < 0 || r.Count > 10000 {
		return fmt.Errorf("count %d is not from 1 to 10000", r.Count)
	}
	for _, repository := range []string{r.Repository, r.HeadRepository} {
		if repository != "" && !isRepository(repository) {
			return fmt.Errorf("repository %q is not of the form owner/name", repository)
		}
	}
	if len(r.Payload) > 0 && !json.Valid(r.Payload) {
		return fmt.Errorf("the event's payload is no JSON")
	}
	for _, one := range []struct {
		field *string
		usual string
	}{
		{&r.Event, "workflow_dispatch"},
		{&r.Name, "build"},
		{&r.Workflow, "CI"},
		{&r.HeadSHA, randomHex(20)},
		{&r.RefName, "main"},
	} {
		if *one.field == "" {
			*one.field = one.usual
		}
	}
	if len(r.Labels) == 0 {
		r.Labels = []string{"self-hosted"}
	}
	if isPull(r.Event) {
		r.completePull()
	}
	if r.Association == "" {
		r.Association = "MEMBER"
		if r.HeadRepository != "" {
			r.Association = "NONE"
		}
	}
	if r.Duration == 0 {
		r.Duration = time.Second
	}
	return nil
}

func (r *JobRequest) completePull() {
	if r.BaseRef == "" {
		r.BaseRef = "main"
	}
	if r.HeadRef == "" {
		r.HeadRef = "feature"
	}
	if r.RefName == "main" {
		r.RefName = "1/merge"
	}
}

// newJob makes one queued job. The lock is held.
func (s *Server) newJob(request JobRequest) *job {
	return &job{
		Job: runnerapp.Job{
			ID:           s.nextID(),
			RunID:        s.nextID(),
			Name:         request.Name,
			Workflow:     request.Workflow,
			Repository:   request.Repository,
			Event:        request.Event,
			EventPayload: request.Payload,
			HeadSHA:      request.HeadSHA,
			RefName:      request.RefName,
			BaseRef:      request.BaseRef,
			HeadRef:      request.HeadRef,
			Duration:     request.Duration,
			Script:       request.Script,
			Always:       request.Always,
		},
		headRepository: request.HeadRepository, association: request.Association,
		labels:  request.Labels,
		status:  Queued,
		created: time.Now().UTC(),
	}
}

// assign gives queued jobs to idle runners that are online, the oldest to the
// oldest. The lock is held.
func (s *Server) assign() {
	idle := s.idle()
	for _, j := range s.jobs {
		if len(idle) == 0 {
			return
		}
		if j.status != Queued || j.runner != nil {
			continue
		}
		at := slices.IndexFunc(idle, func(r *registered) bool { return r.has(j.labels) && r.sees(j.Repository) })
		if at < 0 {
			continue
		}
		s.give(j, idle[at])
		idle = slices.Delete(idle, at, at+1)
	}
}

func (s *Server) idle() []*registered {
	var idle []*registered
	for _, r := range s.runnerOf {
		if r.online && r.job == nil && !r.removed {
			idle = append(idle, r)
		}
	}
	slices.SortFunc(idle, func(a, b *registered) int { return int(a.id - b.id) })
	return idle
}

// give hands a job to a runner. The lock is held.
func (s *Server) give(j *job, r *registered) {
	if j.Repository == "" {
		j.Repository = r.path
		if !strings.Contains(r.path, "/") {
			j.Repository += "/demo"
		}
	}
	if len(j.EventPayload) == 0 {
		j.EventPayload = j.payload()
	}
	j.runner, j.runnerName, j.runnerID = r, r.name, r.id
	r.job = j
	r.given = time.Now()
	r.busyShown = r.given.Add(s.lag())
	r.poke()
	s.change()
}

// finish ends a job and the registration of its runner, which was for this job
// only. The lock is held.
func (s *Server) finish(j *job, conclusion string) {
	if j.status == Completed {
		return
	}
	j.status, j.conclusion, j.completed = Completed, conclusion, time.Now().UTC()
	if r := j.runner; r != nil {
		r.job, j.runner = nil, nil
		r.removed = true
		s.forget(r)
	}
	s.change()
}

// End ends jobs before their time: running ones get the conclusion by way of
// their runner, queued ones at once. No ids are all jobs.
func (s *Server) End(ids []int64, conclusion string) []JobInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := []JobInfo{}
	for _, j := range s.jobs {
		if j.status == Completed || (len(ids) > 0 && !slices.Contains(ids, j.ID)) {
			continue
		}
		if j.runner == nil {
			s.finish(j, runnerapp.Cancelled)
		} else {
			j.runner.end = conclusion
			j.runner.poke()
		}
		ended = append(ended, j.info())
	}
	return ended
}

func randomHex(bytes int) string {
	random := make([]byte, bytes)
	rand.Read(random) // never fails, by its contract
	return hex.EncodeToString(random)
}
