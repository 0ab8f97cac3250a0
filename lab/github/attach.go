package github

import (
	"context"
	"net/http"
	"time"

	"github-runner/lab/runnerapp"
)

// Attached is the session of a runner application in this process: what its
// calls would do, without the calls. It serves guests whose time is simulated.
type Attached struct {
	server *Server
	runner *registered
	// leave ends the watch over the context of Online.
	leave func() bool
}

// Attach reads a JIT configuration and returns the session that it is for;
// runnerapp.ErrGone when there is no such registration.
func (s *Server) Attach(jit string) (*Attached, error) {
	blob, err := runnerapp.DecodeBlob(jit)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runnerOf[blob.RunnerID]
	if r == nil || r.key != blob.Key {
		return nil, runnerapp.ErrGone
	}
	return &Attached{server: s, runner: r}, nil
}

// Name is the runner's name.
func (a *Attached) Name() string { return a.runner.name }

// Online opens the session: GitHub shows the runner as online until Close, or
// until a moment after ctx ends: then its machine has lost its power.
func (a *Attached) Online(ctx context.Context) error {
	s, r := a.server, a.runner
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.runnerOf[r.id] == nil:
		return runnerapp.ErrGone
	case r.session && r.online:
		return runnerapp.ErrConflict
	}
	r.session = true
	r.held++
	s.alive(r)
	a.leave = context.AfterFunc(ctx, func() { s.release(r, s.options.OfflineAfter/5) })
	return nil
}

// NextJob blocks until GitHub has a job for the runner; runnerapp.ErrGone when
// its registration was removed meanwhile.
func (a *Attached) NextJob(ctx context.Context) (runnerapp.Job, error) {
	for {
		if job, err := a.take(); job.ID != 0 || err != nil {
			return job, err
		}
		select {
		case <-a.runner.wake:
		case <-ctx.Done():
			return runnerapp.Job{}, ctx.Err()
		}
	}
}

// take tells GitHub that the job has arrived, if there is one.
func (a *Attached) take() (runnerapp.Job, error) {
	s, r := a.server, a.runner
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runnerOf[r.id] == nil {
		return runnerapp.Job{}, runnerapp.ErrGone
	}
	if r.job == nil {
		return runnerapp.Job{}, nil
	}
	s.started(r.job)
	return r.job.Job, nil
}

// Work passes the time of a job: its duration, or less where GitHub ends it. It
// returns the job's conclusion.
func (a *Attached) Work(ctx context.Context, job runnerapp.Job) (string, error) {
	timer := time.NewTimer(job.Duration)
	defer timer.Stop()
	for {
		if conclusion := a.ended(); conclusion != "" {
			return conclusion, nil
		}
		select {
		case <-timer.C:
			return runnerapp.Success, nil
		case <-a.runner.wake:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// ended is the conclusion that GitHub ends the running job with, if it does.
func (a *Attached) ended() string {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return a.runner.end
}

// Log hands in what the job printed; GitHub keeps its end.
func (a *Attached) Log(_ context.Context, jobID int64, text string) error {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if a.server.takeLog(a.runner, report{JobID: jobID, Text: text}) != http.StatusNoContent {
		return runnerapp.ErrGone
	}
	return nil
}

// Finish tells GitHub how the job ended; the registration is gone with it.
func (a *Attached) Finish(_ context.Context, jobID int64, conclusion string) error {
	s, r := a.server, a.runner
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.job == nil || r.job.ID != jobID {
		return runnerapp.ErrGone
	}
	s.finish(r.job, conclusion)
	return nil
}

// Close ends the session; GitHub shows the runner as offline at once.
func (a *Attached) Close() error {
	if a.leave != nil && a.leave() {
		a.server.release(a.runner, 0)
	}
	return nil
}

// Blink breaks the connection of a runner that is online for a time, as a
// network does; its machine notices nothing.
func (s *Server) Blink(name string, length time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runnerOf {
		if r.name != name || !r.online || r.blind {
			continue
		}
		r.blind = true
		s.missed(r)
		time.AfterFunc(length, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			r.blind = false
			if s.runnerOf[r.id] == r && r.held > 0 {
				s.alive(r)
			}
		})
	}
}
