package github

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Calls counts one endpoint's calls. Total counts those that were never
// answered, too.
type Calls struct {
	Endpoint string `json:"endpoint"`
	Total    int    `json:"total"`
	// NotModified are the answers 304, which cost nothing.
	NotModified int `json:"not_modified"`
	// Refused are the answers from 400 on.
	Refused int `json:"refused"`
}

func (c *Calls) note(status int) {
	switch {
	case status == http.StatusNotModified:
		c.NotModified++
	case status >= 400:
		c.Refused++
	}
}

func (s *Server) count(endpoint string, note func(*Calls)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[endpoint] == nil {
		s.calls[endpoint] = &Calls{Endpoint: endpoint}
	}
	note(s.calls[endpoint])
}

// Calls returns the counts since the start, or since ResetCalls.
func (s *Server) Calls() []Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Calls{}
	for _, one := range s.calls {
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b Calls) int { return cmp.Compare(a.Endpoint, b.Endpoint) })
	return all
}

// ResetCalls starts counting anew.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = map[string]*Calls{}
}

// budget is what a token has left of its calls in an hour.
type budget struct {
	used  int
	reset time.Time
}

// budgetOf returns a token's budget of this hour. The lock is held.
func (s *Server) budgetOf(token string, now time.Time) *budget {
	token = s.payer(token)
	b := s.budgets[token]
	if b == nil || !now.Before(b.reset) {
		b = &budget{reset: now.Add(time.Hour)}
		s.budgets[token] = b
	}
	return b
}

// spend takes a call off the token's budget and tells about it.
func (s *Server) spend(c *apiCall, header http.Header, free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgetOf(c.token, c.now)
	if !free {
		b.used++
	}
	if header.Get("X-RateLimit-Remaining") != "" {
		return
	}
	rateHeaders(header, s.options.Limit, b.used, b.reset)
}

func rateHeaders(header http.Header, limit, used int, reset time.Time) {
	header.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	header.Set("X-RateLimit-Used", strconv.Itoa(used))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, limit-used)))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix()+1, 10))
	header.Set("X-RateLimit-Resource", "core")
}

// overLimit returns the refusal of a call that is one too many.
func (s *Server) overLimit(c *apiCall, hits hits) (reply, bool) {
	if limited, ok := hits.limited(c, s.options.Limit); ok {
		return limited, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgetOf(c.token, c.now)
	if b.used < s.options.Limit || c.route.name == "rate-limit" || c.route.name == appTokenRoute {
		return reply{}, false
	}
	return primaryLimit(s.options.Limit, b.reset), true
}

func primaryLimit(limit int, reset time.Time) reply {
	refused := problem(http.StatusForbidden, "API rate limit exceeded for user ID 1.")
	refused.header = http.Header{}
	rateHeaders(refused.header, limit, limit, reset)
	return refused
}

func (s *Server) showRateLimit(c *apiCall) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgetOf(c.token, c.now)
	core := map[string]int64{
		"limit":     int64(s.options.Limit),
		"used":      int64(b.used),
		"remaining": int64(max(0, s.options.Limit-b.used)),
		"reset":     b.reset.Unix() + 1,
	}
	return reply{status: http.StatusOK, body: map[string]any{"resources": map[string]any{"core": core}, "rate": core}}
}
