package github

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// JobInfo is a job as the lab shows it.
type JobInfo struct {
	ID         int64      `json:"id"`
	RunID      int64      `json:"run_id"`
	Name       string     `json:"name"`
	Workflow   string     `json:"workflow"`
	Repository string     `json:"repository"`
	Event      string     `json:"event"`
	Labels     []string   `json:"labels"`
	Status     string     `json:"status"`
	Conclusion string     `json:"conclusion,omitempty"`
	Runner     string     `json:"runner,omitempty"`
	Created    time.Time  `json:"created_at"`
	Started    *time.Time `json:"started_at,omitempty"`
	Completed  *time.Time `json:"completed_at,omitempty"`
	// Log is the end of what the job printed.
	Log string `json:"log,omitempty"`
}

func (j *job) info() JobInfo {
	known := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return JobInfo{
		ID:         j.ID,
		RunID:      j.RunID,
		Name:       j.Name,
		Workflow:   j.Workflow,
		Repository: j.Repository,
		Event:      j.Event,
		Labels:     j.labels,
		Status:     j.status,
		Conclusion: j.conclusion,
		Runner:     j.runnerName,
		Created:    j.created,
		Started:    known(j.started),
		Completed:  known(j.completed),
		Log:        j.log,
	}
}

// RunnerInfo is a runner as the lab shows it: as it is, not as a fault makes
// the API show it.
type RunnerInfo struct {
	ID     int64    `json:"id"`
	Name   string   `json:"name"`
	Scope  string   `json:"scope"`
	Group  int64    `json:"group"`
	Labels []string `json:"labels"`
	Online bool     `json:"online"`
	Busy   bool     `json:"busy"`
	// Removed runners are not registered any more; their job still runs.
	Removed    bool      `json:"removed,omitempty"`
	Registered time.Time `json:"registered_at"`
}

// Runners returns all runners, of all scopes, oldest first.
func (s *Server) Runners() []RunnerInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runnerInfos()
}

func (s *Server) runnerInfos() []RunnerInfo {
	all := []RunnerInfo{}
	for _, r := range s.runnerOf {
		all = append(all, RunnerInfo{
			ID:         r.id,
			Name:       r.name,
			Scope:      r.path,
			Group:      r.group,
			Labels:     r.labels,
			Online:     r.online,
			Busy:       r.job != nil,
			Removed:    r.removed,
			Registered: r.made,
		})
	}
	slices.SortFunc(all, func(a, b RunnerInfo) int { return int(a.ID - b.ID) })
	return all
}

// Jobs returns all jobs, oldest first.
func (s *Server) Jobs() []JobInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []JobInfo{}
	for _, j := range s.jobs {
		all = append(all, j.info())
	}
	return all
}

// Condition is what can be waited for. All that is set must hold.
type Condition struct {
	// Jobs is a job state. Without Count every job must be in it, and there
	// must be one.
	Jobs  string `json:"jobs,omitempty"`
	Count int    `json:"count,omitempty"`
	// Registered, Online, Idle and Busy are numbers of runners whose names
	// start with Prefix; Idle ones are online. Nil is any number.
	Prefix     string `json:"prefix,omitempty"`
	Registered *int   `json:"registered,omitempty"`
	Online     *int   `json:"online,omitempty"`
	Idle       *int   `json:"idle,omitempty"`
	Busy       *int   `json:"busy,omitempty"`
	// Timeout is how long to wait at most, default a minute.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Wait blocks until a condition holds; an error says what is there instead.
func (s *Server) Wait(ctx context.Context, condition Condition) error {
	if condition.Timeout <= 0 {
		condition.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, condition.Timeout)
	defer cancel()
	for {
		s.mu.Lock()
		missing := s.missing(condition)
		changed := s.changed
		s.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait any longer: %s", strings.Join(missing, "; "))
		}
	}
}

// missing says what of a condition does not hold. The lock is held.
func (s *Server) missing(condition Condition) []string {
	var missing []string
	if condition.Jobs != "" {
		have := 0
		for _, j := range s.jobs {
			if j.status == condition.Jobs {
				have++
			}
		}
		want := condition.Count
		if want == 0 {
			want = max(1, len(s.jobs))
		}
		if have < want {
			missing = append(missing, fmt.Sprintf("%d of %d jobs are %s", have, want, condition.Jobs))
		}
	}
	counts := map[string]int{}
	for _, r := range s.runnerOf {
		if r.removed || !strings.HasPrefix(r.name, condition.Prefix) {
			continue
		}
		counts["registered"]++
		if r.online {
			counts["online"]++
		}
		if r.online && r.job == nil {
			counts["idle"]++
		}
		if r.job != nil {
			counts["busy"]++
		}
	}
	for _, one := range []struct {
		name string
		want *int
	}{
		{"registered", condition.Registered},
		{"online", condition.Online},
		{"idle", condition.Idle},
		{"busy", condition.Busy},
	} {
		if one.want != nil && counts[one.name] != *one.want {
			missing = append(missing, fmt.Sprintf("%d of %d runners are %s", counts[one.name], *one.want, one.name))
		}
	}
	return missing
}

// Control answers orders, for whoever may open the lab's socket.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /jobs", order(func(_ context.Context, asked JobRequest) (any, error) { return s.Queue(asked) }))
	mux.HandleFunc("POST /jobs/end", order(func(_ context.Context, asked endRequest) (any, error) {
		return s.End(asked.IDs, asked.Conclusion), nil
	}))
	mux.HandleFunc("GET /jobs", show(s.Jobs))
	mux.HandleFunc("GET /runners", show(s.Runners))
	mux.HandleFunc("GET /calls", show(s.Calls))
	mux.HandleFunc("DELETE /calls", func(http.ResponseWriter, *http.Request) { s.ResetCalls() })
	mux.HandleFunc("GET /faults", show(s.Faults))
	mux.HandleFunc("POST /faults", order(func(_ context.Context, asked Fault) (any, error) { return s.AddFault(asked) }))
	mux.HandleFunc("DELETE /faults/{id}", func(_ http.ResponseWriter, r *http.Request) {
		if id, err := strconv.Atoi(r.PathValue("id")); err == nil {
			s.ClearFaults(id)
		}
	})
	mux.HandleFunc("DELETE /faults", func(http.ResponseWriter, *http.Request) { s.ClearFaults(0) })
	mux.HandleFunc("POST /groups", order(func(_ context.Context, asked groupRequest) (any, error) {
		return s.AddGroup(asked.Organization, asked.Name)
	}))
	mux.HandleFunc("POST /groups/remove", order(func(_ context.Context, asked groupRequest) (any, error) {
		return nil, s.RemoveGroup(asked.Organization, asked.Name)
	}))
	mux.HandleFunc("GET /apps", show(s.Apps))
	mux.HandleFunc("POST /apps", order(func(_ context.Context, asked appRequest) (any, error) { return s.AddApp(asked.Account) }))
	mux.HandleFunc("POST /apps/suspend", order(func(_ context.Context, asked appRequest) (any, error) {
		return nil, s.SuspendApp(asked.ClientID, asked.Suspended)
	}))
	mux.HandleFunc("POST /apps/expire", order(func(_ context.Context, asked appRequest) (any, error) {
		return nil, s.ExpireTokens(asked.ClientID)
	}))
	mux.HandleFunc("POST /protections", order(func(_ context.Context, asked Protection) (any, error) { return nil, s.Protect(asked) }))
	mux.HandleFunc("POST /rulesets", order(func(_ context.Context, asked Ruleset) (any, error) { return nil, s.SetRuleset(asked) }))
	mux.HandleFunc("POST /collaborators", order(func(_ context.Context, asked Collaborator) (any, error) { return nil, s.SetCollaborator(asked) }))
	mux.HandleFunc("POST /pulls", order(func(_ context.Context, asked Pull) (any, error) { return s.OpenPull(asked) }))
	mux.HandleFunc("POST /comments", order(func(_ context.Context, asked Comment) (any, error) { return nil, s.AddComment(asked) }))
	mux.HandleFunc("POST /wait", order(func(ctx context.Context, asked Condition) (any, error) { return nil, s.Wait(ctx, asked) }))
	return mux
}

type endRequest struct {
	IDs        []int64 `json:"ids"`
	Conclusion string  `json:"conclusion"`
}

type appRequest struct {
	ClientID  string `json:"client_id"`
	Account   string `json:"account"`
	Suspended bool   `json:"suspended"`
}

type groupRequest struct {
	Organization string `json:"organization"`
	Name         string `json:"name"`
}

// refusalJSON is the answer to an order that can't be followed.
type refusalJSON struct {
	Error string `json:"error"`
}

func order[T any](follow func(context.Context, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked T
		body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
		if err == nil {
			err = json.Unmarshal(body, &asked)
		}
		var result any
		if err == nil {
			result, err = follow(r.Context(), asked)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			result = refusalJSON{err.Error()}
		}
		_ = json.NewEncoder(w).Encode(result) // whoever hung up does not want it
	}
}

func show[T any](look func() []T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(look()) // whoever hung up does not want it
	}
}
