package github

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
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
		return fmt.Errorf("there is no kind %q: it is one of %s", f.Kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
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
