package github

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github-runner/lab/runnerapp"
)

const (
	maxLabels     = 100
	maxNameLength = 64
	// defaultGroupID is that of the group which every organisation has, and
	// what repositories, which have none, want to be sent.
	defaultGroupID = 1
	// closedGroupID is of a group that no token may use.
	closedGroupID = 2
)

// runnerJSON is a runner in GitHub's form.
type runnerJSON struct {
	ID        int64       `json:"id"`
	Name      string      `json:"name"`
	OS        string      `json:"os"`
	Status    string      `json:"status"`
	Busy      bool        `json:"busy"`
	Ephemeral bool        `json:"ephemeral"`
	Group     int64       `json:"runner_group_id"`
	Labels    []labelJSON `json:"labels"`
}

type labelJSON struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

func (r *registered) json(now time.Time) runnerJSON {
	shown := runnerJSON{
		ID:        r.id,
		Name:      r.name,
		OS:        "unknown",
		Status:    "offline",
		Busy:      r.shownBusy(now),
		Ephemeral: true,
		Group:     r.group,
		Labels:    []labelJSON{},
	}
	if r.session || r.online {
		shown.OS = "linux"
	}
	if r.online {
		shown.Status = "online"
	}
	for i, label := range r.labels {
		shown.Labels = append(shown.Labels, labelJSON{ID: int64(i + 1), Name: label, Type: "custom"})
	}
	return shown
}

func (s *Server) listRunners(c *apiCall) reply {
	_, scope := c.scope()
	name := c.URL.Query().Get("name")
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.of(scope)
	if name != "" {
		all = slices.DeleteFunc(all, func(r *registered) bool { return r.name != name })
	}
	some, header := page(c, all)
	shown := make([]runnerJSON, 0, len(some))
	for _, r := range some {
		shown = append(shown, r.json(c.now))
	}
	return reply{http.StatusOK, header, map[string]any{"total_count": len(all), "runners": shown}}
}

func (s *Server) getRunner(c *apiCall) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.asked(c)
	if r == nil {
		return notFound()
	}
	return reply{status: http.StatusOK, body: r.json(c.now)}
}

func (s *Server) deleteRunner(c *apiCall) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.asked(c)
	if r == nil {
		return notFound()
	}
	if r.job != nil && !s.lateDelete(r, c.now) {
		return problem(http.StatusUnprocessableEntity, "Bad request - Runner %q is still running a job", r.name)
	}
	s.remove(r)
	return reply{status: http.StatusNoContent}
}

// asked returns the runner that the call is about. The lock is held.
func (s *Server) asked(c *apiCall) *registered {
	_, scope := c.scope()
	id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if err != nil {
		return nil
	}
	return s.runnerIn(scope, id)
}

// jitRequest is the body of generate-jitconfig. Pointers tell what is missing.
type jitRequest struct {
	Name   string   `json:"name"`
	Group  *int64   `json:"runner_group_id"`
	Labels []string `json:"labels"`
}

// invalid says what GitHub would not take, nothing when all is well.
func (q jitRequest) invalid() string {
	switch {
	case strings.TrimSpace(q.Name) == "" || len(q.Name) > maxNameLength:
		return "name must have 1 to 64 characters"
	case q.Group == nil:
		return `"runner_group_id" wasn't supplied.`
	case len(q.Labels) == 0:
		return "No subschema in \"anyOf\" matched. labels: at least one is required"
	case len(q.Labels) > maxLabels:
		return "labels: at most 100 are allowed"
	case slices.ContainsFunc(q.Labels, func(l string) bool { return strings.TrimSpace(l) == "" || len(l) > 256 }):
		return "labels: one is empty or longer than 256 characters"
	}
	return ""
}

func (s *Server) generateJIT(c *apiCall) reply {
	var asked jitRequest
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return problem(http.StatusBadRequest, "Problems parsing JSON")
	}
	if wrong := asked.invalid(); wrong != "" {
		return problem(http.StatusUnprocessableEntity, "Invalid request.\n\n%s", wrong)
	}
	path, scope := c.scope()
	s.mu.Lock()
	defer s.mu.Unlock()
	if status := s.groupStatus(scope, *asked.Group); status != http.StatusOK {
		return problem(status, "%s", http.StatusText(status))
	}
	for _, other := range s.of(scope) {
		if strings.EqualFold(other.name, asked.Name) {
			return problem(http.StatusConflict, "Already exists - A runner with the name %q already exists.", asked.Name)
		}
	}
	r := &registered{
		id:     s.nextID(),
		name:   asked.Name,
		scope:  scope,
		path:   path,
		group:  *asked.Group,
		labels: lowered(asked.Labels),
		key:    randomHex(24),
		made:   c.now,
		wake:   make(chan struct{}, 1),
	}
	jit, err := runnerapp.Blob{URL: "http://" + c.Host, RunnerID: r.id, Key: r.key}.Encode()
	if err != nil {
		return problem(http.StatusInternalServerError, "%s", err)
	}
	s.runnerOf[r.id] = r
	s.change()
	return reply{status: http.StatusCreated, body: map[string]any{"runner": r.json(c.now), "encoded_jit_config": jit}}
}

// lowered are the labels as GitHub stores them: lower-case, each once.
func lowered(labels []string) []string {
	var stored []string
	for _, label := range labels {
		if label = strings.ToLower(label); !slices.Contains(stored, label) {
			stored = append(stored, label)
		}
	}
	return stored
}

func (s *Server) makeToken(c *apiCall) reply {
	return reply{status: http.StatusCreated, body: map[string]any{
		"token":      strings.ToUpper(randomHex(14)),
		"expires_at": c.now.Add(time.Hour).UTC().Format(time.RFC3339),
	}}
}

func (s *Server) listRunJobs(c *apiCall) reply {
	repository, _ := c.scope()
	run, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if err != nil {
		return notFound()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var jobs []map[string]any
	for _, j := range s.jobs {
		if j.RunID == run && strings.EqualFold(j.Repository, repository) {
			jobs = append(jobs, j.json())
		}
	}
	if len(jobs) == 0 {
		return notFound()
	}
	some, header := page(c, jobs)
	return reply{http.StatusOK, header, map[string]any{"total_count": len(jobs), "jobs": some}}
}

// json is a job in GitHub's form: what is not there yet is null.
func (j *job) json() map[string]any {
	stamp := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.Format(time.RFC3339)
	}
	orNull := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	shown := map[string]any{
		"id":            j.ID,
		"run_id":        j.RunID,
		"run_attempt":   1,
		"name":          j.Name,
		"workflow_name": j.Workflow,
		"head_branch":   j.RefName,
		"head_sha":      j.HeadSHA,
		"status":        j.status,
		"conclusion":    orNull(j.conclusion),
		"created_at":    stamp(j.created),
		"started_at":    stamp(j.started),
		"completed_at":  stamp(j.completed),
		"labels":        j.labels,
		"runner_name":   orNull(j.runnerName),
		"runner_id":     nil,
		"steps":         []any{},
	}
	if j.runnerID != 0 {
		shown["runner_id"] = j.runnerID
	}
	return shown
}
