package github

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github-runner/lab/runnerapp"
)

// newRunnerAPI is what the stand-in runner application talks to.
func (s *Server) newRunnerAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /_runner/{id}/session", s.runner(s.openSession))
	mux.HandleFunc("POST /_runner/{id}/close", s.runner(s.closeSession))
	mux.HandleFunc("GET /_runner/{id}/messages", s.poll)
	mux.HandleFunc("POST /_runner/{id}/took", s.runner(s.took))
	mux.HandleFunc("POST /_runner/{id}/log", s.runner(s.takeLog))
	mux.HandleFunc("POST /_runner/{id}/finish", s.runner(s.finished))
	return mux
}

// report is the body of a runner's calls.
type report struct {
	JobID      int64  `json:"job_id"`
	Conclusion string `json:"conclusion"`
	Text       string `json:"text"`
}

// runner finds the runner of a call, holds the lock for it and answers with the
// status that it returns.
func (s *Server) runner(call func(r *registered, said report) int) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		var said report
		body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
		if err == nil {
			err = json.Unmarshal(body, &said)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		r := s.authenticated(request)
		if r == nil {
			w.WriteHeader(http.StatusGone)
			return
		}
		w.WriteHeader(call(r, said))
	}
}

// authenticated returns the runner that a call comes from. The lock is held.
func (s *Server) authenticated(request *http.Request) *registered {
	id, err := strconv.ParseInt(request.PathValue("id"), 10, 64)
	if err != nil {
		return nil
	}
	r := s.runnerOf[id]
	if r == nil || request.Header.Get("Authorization") != "Bearer "+r.key {
		return nil
	}
	return r
}

func (s *Server) openSession(r *registered, _ report) int {
	if r.session && r.online {
		return http.StatusConflict
	}
	r.session = true
	s.alive(r)
	s.missAfter(r, s.options.OfflineAfter)
	return http.StatusNoContent
}

func (s *Server) closeSession(r *registered, _ report) int {
	r.session = false
	s.missed(r)
	return http.StatusNoContent
}

func (s *Server) took(r *registered, said report) int {
	j := r.job
	if j == nil || j.ID != said.JobID {
		return http.StatusNotFound
	}
	s.started(j)
	return http.StatusNoContent
}

// started notes that a job has arrived at its runner. The lock is held.
func (s *Server) started(j *job) {
	if !j.took {
		j.took, j.status, j.started = true, InProgress, time.Now().UTC()
		s.change()
	}
}

func (s *Server) takeLog(r *registered, said report) int {
	if r.job == nil || r.job.ID != said.JobID {
		return http.StatusNotFound
	}
	text := r.job.log + said.Text
	r.job.log = strings.ToValidUTF8(text[max(0, len(text)-maxLog):], "")
	return http.StatusNoContent
}

func (s *Server) finished(r *registered, said report) int {
	if r.job == nil || r.job.ID != said.JobID {
		return http.StatusNotFound
	}
	s.finish(r.job, said.Conclusion)
	return http.StatusNoContent
}

// poll holds a runner's call until there is something to tell. The call is also
// the runner's sign of life.
func (s *Server) poll(w http.ResponseWriter, request *http.Request) {
	// Only once the body is read does the server notice that a caller hangs up.
	_, _ = io.Copy(io.Discard, io.LimitReader(request.Body, 1<<10))
	s.mu.Lock()
	r := s.authenticated(request)
	if r == nil || !r.session {
		s.mu.Unlock()
		w.WriteHeader(http.StatusGone)
		return
	}
	r.held++
	s.alive(r)
	s.mu.Unlock()

	message, status := s.news(request, r)
	if status == 0 {
		s.release(r, s.options.OfflineAfter/5)
		return
	}
	s.release(r, s.options.OfflineAfter)
	if status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The runner asks again for what did not arrive.
	_ = json.NewEncoder(w).Encode(message)
}

// news waits for a message; status 0 when the runner hung up.
func (s *Server) news(request *http.Request, r *registered) (runnerapp.Message, int) {
	timer := time.NewTimer(runnerapp.PollTime)
	defer timer.Stop()
	for {
		if message, status := s.message(r); status != http.StatusNoContent {
			return message, status
		}
		select {
		case <-r.wake:
		case <-timer.C:
			return runnerapp.Message{}, http.StatusNoContent
		case <-request.Context().Done():
			return runnerapp.Message{}, 0
		}
	}
}

func (s *Server) message(r *registered) (runnerapp.Message, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.runnerOf[r.id] == nil:
		return runnerapp.Message{}, http.StatusGone
	case r.job != nil && !r.job.took:
		copied := r.job.Job
		return runnerapp.Message{Type: runnerapp.MessageJob, Job: &copied}, http.StatusOK
	case r.job != nil && r.end != "":
		conclusion := r.end
		r.end = ""
		return runnerapp.Message{Type: runnerapp.MessageEnd, JobID: r.job.ID, Conclusion: conclusion}, http.StatusOK
	}
	return runnerapp.Message{}, http.StatusNoContent
}

func (s *Server) release(r *registered, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.held--
	if r.held == 0 && s.runnerOf[r.id] != nil {
		s.missAfter(r, grace)
	}
}

// alive notes a sign of life. The lock is held.
func (s *Server) alive(r *registered) {
	for _, timer := range []*time.Timer{r.offline, r.lost} {
		if timer != nil {
			timer.Stop()
		}
	}
	if r.online {
		return
	}
	r.online = true
	s.assign()
	s.change()
}

// missAfter lets a runner go offline unless it shows up. The lock is held.
func (s *Server) missAfter(r *registered, grace time.Duration) {
	if r.offline != nil {
		r.offline.Stop()
	}
	r.offline = time.AfterFunc(grace, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.held == 0 {
			s.missed(r)
		}
	})
}

// missed makes a runner offline. Its job fails when it stays so. The lock is
// held.
func (s *Server) missed(r *registered) {
	if !r.online {
		return
	}
	r.online = false
	s.change()
	if r.job == nil {
		return
	}
	r.lost = time.AfterFunc(s.lostAfter(), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.job != nil && !r.online {
			s.finish(r.job, runnerapp.Failure)
		}
	})
}
