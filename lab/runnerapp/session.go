package runnerapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github-runner/lab/clock"
)

// The errors of a Session.
var (
	// ErrGone: GitHub does not know the registration, or not any more.
	ErrGone = errors.New("the registration is gone")
	// ErrConflict: another process holds the runner's session.
	ErrConflict = errors.New("the runner has a session already")
)

const (
	callTimeout = 10 * time.Second
	// PollTime is how long GitHub holds a poll without news.
	PollTime = 20 * time.Second
	maxReply = 4 << 20
)

// Messages that a poll answers with.
const (
	MessageJob = "job"
	// MessageEnd ends the running job early, with the conclusion that it says.
	MessageEnd = "end"
)

// Message is what GitHub tells a runner.
type Message struct {
	Type       string `json:"type"`
	Job        *Job   `json:"job,omitempty"`
	JobID      int64  `json:"job_id,omitempty"`
	Conclusion string `json:"conclusion,omitempty"`
}

// Session is a runner's connection with the lab's GitHub.
type Session struct {
	blob   Blob
	client *http.Client

	jobs chan Job
	// ended closes when the session is over; err says why.
	ended chan struct{}
	err   error

	mu   sync.Mutex
	ends map[int64]chan string
	seen map[int64]bool
}

// Open reads a JIT configuration. It makes no call.
func Open(jit string) (*Session, error) {
	blob, err := DecodeBlob(jit)
	if err != nil {
		return nil, fmt.Errorf("cannot read JIT configuration: %w", err)
	}
	return &Session{
		blob: blob,
		// Without a proxy: the lab's GitHub is always near.
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
		jobs:   make(chan Job, 1),
		ended:  make(chan struct{}),
		ends:   map[int64]chan string{},
		seen:   map[int64]bool{},
	}, nil
}

// Online opens the session: GitHub shows the runner as online from now until
// ctx ends or Close. ErrGone and ErrConflict are GitHub's refusals.
func (s *Session) Online(ctx context.Context) error {
	if err := s.post(ctx, "session", nil); err != nil {
		return fmt.Errorf("cannot open session: %w", err)
	}
	go s.listen(ctx)
	return nil
}

// NextJob blocks until GitHub has a job for the runner. A runner gets one job
// in its life. ErrGone when the registration was removed meanwhile.
func (s *Session) NextJob(ctx context.Context) (Job, error) {
	select {
	case job := <-s.jobs:
		return job, nil
	case <-s.ended:
		return Job{}, fmt.Errorf("cannot wait for a job: %w", s.err)
	case <-ctx.Done():
		return Job{}, ctx.Err()
	}
}

// Work passes the time of a job without a script: its duration, or less where
// GitHub ends it. It returns the job's conclusion.
func (s *Session) Work(ctx context.Context, job Job) (string, error) {
	timer := time.NewTimer(job.Duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return Success, nil
	case conclusion := <-s.End(job.ID):
		return conclusion, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// End returns the channel that gets the conclusion when GitHub ends the job
// before the runner does.
func (s *Session) End(jobID int64) <-chan string {
	return s.end(jobID)
}

func (s *Session) end(jobID int64) chan string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends[jobID] == nil {
		s.ends[jobID] = make(chan string, 1)
	}
	return s.ends[jobID]
}

// Log hands in what the job printed; GitHub keeps its end.
func (s *Session) Log(ctx context.Context, jobID int64, text string) error {
	if err := s.post(ctx, "log", map[string]any{"job_id": jobID, "text": text}); err != nil {
		return fmt.Errorf("cannot hand in the job's log: %w", err)
	}
	return nil
}

// Finish tells GitHub how the job ended; the registration is gone with it.
func (s *Session) Finish(ctx context.Context, jobID int64, conclusion string) error {
	if err := s.post(ctx, "finish", map[string]any{"job_id": jobID, "conclusion": conclusion}); err != nil {
		return fmt.Errorf("cannot finish the job: %w", err)
	}
	return nil
}

// Close ends the session; GitHub shows the runner as offline at once.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	err := s.post(ctx, "close", nil)
	s.client.CloseIdleConnections()
	if err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("cannot close session: %w", err)
	}
	return nil
}

// listen polls GitHub for as long as the runner is online.
func (s *Session) listen(ctx context.Context) {
	defer close(s.ended)
	defer s.client.CloseIdleConnections()
	pause := 100 * time.Millisecond
	for {
		message, err := s.poll(ctx)
		switch {
		case ctx.Err() != nil:
			s.err = ctx.Err()
			return
		case errors.Is(err, ErrGone):
			s.err = err
			return
		case err != nil:
			if clock.Pause(ctx, pause) != nil {
				s.err = ctx.Err()
				return
			}
			pause = min(2*pause, 2*time.Second)
			continue
		}
		pause = 100 * time.Millisecond
		s.take(ctx, message)
	}
}

// take passes a message on. GitHub repeats a job until it is told that it
// arrived.
func (s *Session) take(ctx context.Context, message Message) {
	switch message.Type {
	case MessageJob:
		if err := s.post(ctx, "took", map[string]any{"job_id": message.Job.ID}); err != nil {
			return
		}
		s.mu.Lock()
		known := s.seen[message.Job.ID]
		s.seen[message.Job.ID] = true
		s.mu.Unlock()
		if known {
			return
		}
		select {
		case s.jobs <- *message.Job:
		case <-ctx.Done():
		}
	case MessageEnd:
		select {
		case s.end(message.JobID) <- message.Conclusion:
		default:
		}
	}
}

func (s *Session) poll(ctx context.Context) (Message, error) {
	ctx, cancel := context.WithTimeout(ctx, PollTime+callTimeout)
	defer cancel()
	var message Message
	err := s.call(ctx, http.MethodGet, "messages", nil, &message)
	return message, err
}

func (s *Session) post(ctx context.Context, what string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.call(ctx, http.MethodPost, what, body, nil)
}

func (s *Session) call(ctx context.Context, method, what string, body, into any) error {
	address, err := url.JoinPath(s.blob.URL, "_runner", strconv.FormatInt(s.blob.RunnerID, 10), what)
	if err != nil {
		return err
	}
	var content io.Reader
	if method == http.MethodPost {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.blob.Key)
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return err
	}
	switch response.StatusCode {
	case http.StatusOK:
		if into == nil {
			return nil
		}
		return json.Unmarshal(reply, into)
	case http.StatusNoContent:
		return nil
	case http.StatusGone:
		return ErrGone
	case http.StatusConflict:
		return ErrConflict
	}
	return fmt.Errorf("GitHub answers %s", response.Status)
}
