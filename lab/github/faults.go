package github

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kinds of fault.
const (
	// FaultStatus answers with Status and Message; nothing takes effect.
	FaultStatus = "status"
	// FaultBody answers with Status and Body as it is; nothing takes effect.
	FaultBody = "body"
	// FaultDelay waits for Delay first.
	FaultDelay = "delay"
	// FaultLost lets the call take effect and resets the connection.
	FaultLost = "lost"
	// FaultDown resets the connection at once.
	FaultDown = "down"
	// FaultPrimary is the limit of calls per hour, used up.
	FaultPrimary = "primary"
	// FaultSecondary is the limit of calls in a short time, with RetryAfter
	// seconds where that is above zero, with Status 429 in place of 403.
	FaultSecondary = "secondary"
	// FaultRevoked is a token that is not valid any more.
	FaultRevoked = "revoked"
	// FaultKillBefore and FaultKillAfter kill the running hook, before or after
	// the call takes effect; it gets no answer.
	FaultKillBefore = "kill-before"
	FaultKillAfter  = "kill-after"
	// FaultLag shows runners as busy only Delay after they took a job.
	FaultLag = "lag"
	// FaultLateDelete lets a runner be deleted until Delay after it took a job.
	FaultLateDelete = "late-delete"
	// FaultLinger keeps runners whose machine died with a job busy for Delay.
	FaultLinger = "linger"
)

// Fault is something that goes wrong from now on.
type Fault struct {
	ID   int    `json:"id"`
	Kind string `json:"kind"`
	// On is the calls that it is for: a call's short name, "METHOD /path" with
	// * for anything, or empty for all.
	On string `json:"on,omitempty"`
	// Token limits it to calls with this token.
	Token string `json:"token,omitempty"`
	// Skip is how many matching calls are left alone first.
	Skip int `json:"skip,omitempty"`
	// Count is how many calls it hits after those, 0 for all.
	Count int `json:"count,omitempty"`
	// For is how long it lasts, 0 until it is cleared. For a primary limit it
	// is also when the limit resets, else in a minute.
	For        time.Duration `json:"for,omitempty"`
	Status     int           `json:"status,omitempty"`
	Message    string        `json:"message,omitempty"`
	Body       string        `json:"body,omitempty"`
	Delay      time.Duration `json:"delay,omitempty"`
	RetryAfter int           `json:"retry_after,omitempty"`
	// Hits is how many calls it has hit.
	Hits int `json:"hits"`
}

type fault struct {
	Fault
	added time.Time
	seen  int
	path  *regexp.Regexp
	name  string
}

// check says what a kind lacks.
func (f Fault) check() error {
	kinds := map[string]error{
		FaultStatus:     require(f.Status >= 300 && f.Status < 600, "a status from 300 to 599"),
		FaultBody:       nil,
		FaultDelay:      require(f.Delay > 0, "a delay"),
		FaultLost:       nil,
		FaultDown:       nil,
		FaultPrimary:    nil,
		FaultSecondary:  nil,
		FaultRevoked:    nil,
		FaultKillBefore: nil,
		FaultKillAfter:  nil,
		FaultLag:        require(f.Delay > 0, "a delay"),
		FaultLateDelete: require(f.Delay > 0, "a delay"),
		FaultLinger:     require(f.Delay > 0, "a delay"),
	}
	problem, known := kinds[f.Kind]
	if !known {
		return fmt.Errorf("there is no kind %q", f.Kind)
	}
	if problem != nil {
		return fmt.Errorf("kind %s needs %w", f.Kind, problem)
	}
	return nil
}

func require(ok bool, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s", what)
}

// AddFault lets something go wrong from now on.
func (s *Server) AddFault(wanted Fault) (Fault, error) {
	made := &fault{Fault: wanted, added: time.Now()}
	if err := wanted.check(); err != nil {
		return Fault{}, fmt.Errorf("cannot add fault: %w", err)
	}
	if err := made.aim(); err != nil {
		return Fault{}, fmt.Errorf("cannot add fault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made.Hits = 0
	made.ID = int(s.nextID())
	s.faults = append(s.faults, made)
	return made.Fault, nil
}

// aim finds out which calls are meant.
func (f *fault) aim() error {
	if f.On == "" {
		return nil
	}
	if slices.ContainsFunc(routes(), func(r route) bool { return r.name == f.On }) {
		f.name = f.On
		return nil
	}
	method, path, ok := strings.Cut(f.On, " ")
	if !ok {
		var names []string
		for _, r := range routes() {
			names = append(names, r.name)
		}
		return fmt.Errorf("%q is neither \"METHOD /path\" nor one of %s", f.On, strings.Join(names, ", "))
	}
	quoted := strings.ReplaceAll(regexp.QuoteMeta(method+" "+path), `\*`, ".*")
	pattern, err := regexp.Compile("^" + quoted + "$")
	f.path = pattern
	return err
}

// Faults returns those that are in force.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Fault{}
	for _, f := range s.faults {
		if !f.over(time.Now()) {
			all = append(all, f.Fault)
		}
	}
	return all
}

// ClearFaults ends one fault, or with id 0 all of them.
func (s *Server) ClearFaults(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.DeleteFunc(s.faults, func(f *fault) bool { return id == 0 || f.ID == id })
}

func (f *fault) over(now time.Time) bool {
	return (f.For > 0 && now.After(f.added.Add(f.For))) || (f.Count > 0 && f.Hits >= f.Count)
}

func (f *fault) meets(c *apiCall) bool {
	switch {
	case f.Token != "" && f.Token != c.token:
		return false
	case f.name != "":
		return f.name == c.route.name
	case f.path != nil:
		return f.path.MatchString(c.Method + " " + c.URL.Path)
	}
	return true
}

// hits are the faults that one call meets.
type hits []fault

func (s *Server) hit(c *apiCall) hits {
	s.mu.Lock()
	defer s.mu.Unlock()
	var met hits
	for _, f := range s.faults {
		if f.over(c.now) || !f.meets(c) {
			continue
		}
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		if !isOfRunners(f.Kind) {
			f.Hits++
		}
		met = append(met, *f)
	}
	return met
}

// isOfRunners tells the kinds that change what runners look like.
func isOfRunners(kind string) bool {
	return kind == FaultLag || kind == FaultLateDelete || kind == FaultLinger
}

func (h hits) find(kinds ...string) (fault, bool) {
	for _, f := range h {
		if slices.Contains(kinds, f.Kind) {
			return f, true
		}
	}
	return fault{}, false
}

// before is what happens before the call takes effect; false when it does not.
func (h hits) before(ctx context.Context, s *Server) bool {
	if _, ok := h.find(FaultDown); ok {
		return false
	}
	if f, ok := h.find(FaultDelay); ok {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	if _, ok := h.find(FaultKillBefore); ok {
		s.killHook(ctx)
		return false
	}
	return true
}

// after is what happens before the answer is sent; false when it is not.
func (h hits) after(ctx context.Context, s *Server) bool {
	if _, ok := h.find(FaultKillAfter); ok {
		s.killHook(ctx)
		return false
	}
	_, lost := h.find(FaultLost)
	return !lost
}

func (h hits) revoked() bool {
	_, ok := h.find(FaultRevoked)
	return ok
}

// answer is what takes the place of the call.
func (h hits) answer() (reply, bool) {
	if f, ok := h.find(FaultStatus); ok {
		message := f.Message
		if message == "" {
			message = http.StatusText(f.Status)
		}
		return problem(f.Status, "%s", message), true
	}
	if f, ok := h.find(FaultBody); ok {
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		return reply{status: status, body: raw(f.Body)}, true
	}
	return reply{}, false
}

func (h hits) limited(c *apiCall, limit int) (reply, bool) {
	if f, ok := h.find(FaultPrimary); ok {
		reset := c.now.Add(time.Minute)
		if f.For > 0 {
			reset = f.added.Add(f.For)
		}
		return primaryLimit(limit, reset), true
	}
	f, ok := h.find(FaultSecondary)
	if !ok {
		return reply{}, false
	}
	status := f.Status
	if status == 0 {
		status = http.StatusForbidden
	}
	refused := problem(status, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	refused.header = http.Header{}
	if f.RetryAfter > 0 {
		refused.header.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	return refused, true
}

// delayOf returns the delay of a fault that is in force. The lock is held.
func (s *Server) delayOf(kind string) time.Duration {
	for _, f := range s.faults {
		if f.Kind == kind && !f.over(time.Now()) {
			return f.Delay
		}
	}
	return 0
}

// lag is for how long a runner that took a job still looks idle. The lock is
// held.
func (s *Server) lag() time.Duration { return s.delayOf(FaultLag) }

// lateDelete reports whether a runner may be deleted in spite of its job. The
// lock is held.
func (s *Server) lateDelete(r *registered, now time.Time) bool {
	within := s.delayOf(FaultLateDelete)
	return within > 0 && now.Before(r.given.Add(within))
}

// lostAfter is how long GitHub waits for a runner that went offline with a job.
// The lock is held.
func (s *Server) lostAfter() time.Duration {
	return max(s.options.LostAfter, s.delayOf(FaultLinger))
}

// killHook asks the lab's Juju to kill the hook that is running.
func (s *Server) killHook(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.options.JujuSocket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://juju/kill-hook", nil)
	if err != nil {
		s.log.WithError(err).Error("cannot kill the hook")
		return
	}
	response, err := client.Do(request)
	if err != nil {
		s.log.WithError(err).Error("cannot kill the hook")
		return
	}
	_ = response.Body.Close()
}
