package github

import (
	"slices"
	"strings"
	"time"
)

// registered is one runner, from its registration until it is forgotten.
type registered struct {
	id     int64
	name   string
	scope  string // "owner/repository" or "organisation", lower-case
	path   string // the same as it was written
	group  int64
	labels []string
	key    string
	made   time.Time
	// removed is set when GitHub's API does not show it any more: its job may
	// still run.
	removed bool

	session bool
	// held is the number of polls that are open.
	held   int
	online bool
	// blind is set while its connection is broken on purpose.
	blind   bool
	offline *time.Timer
	lost    *time.Timer
	// wake has room for one: there is something to tell the runner.
	wake chan struct{}

	job *job
	// given is when it got the job.
	given time.Time
	// busyShown is when the API starts to show it as busy.
	busyShown time.Time
	// end is a message that the running job is to end.
	end string
}

func (r *registered) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *registered) has(labels []string) bool {
	for _, label := range labels {
		if !slices.Contains(r.labels, strings.ToLower(label)) {
			return false
		}
	}
	return true
}

// sees reports whether a job of a repository may come to the runner; a job
// without one comes to any.
func (r *registered) sees(repository string) bool {
	account, _, _ := strings.Cut(repository, "/")
	return repository == "" || strings.EqualFold(r.scope, repository) || strings.EqualFold(r.scope, account)
}

// of returns a scope's runners that the API shows, oldest first. The lock is
// held.
func (s *Server) of(scope string) []*registered {
	var found []*registered
	for _, r := range s.runnerOf {
		if !r.removed && r.scope == scope {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *registered) int { return int(a.id - b.id) })
	return found
}

// runnerIn returns a runner that a scope's API shows. The lock is held.
func (s *Server) runnerIn(scope string, id int64) *registered {
	if r := s.runnerOf[id]; r != nil && !r.removed && r.scope == scope {
		return r
	}
	return nil
}

// remove takes a runner out of the API, and ends its session unless its job
// still runs. The lock is held.
func (s *Server) remove(r *registered) {
	r.removed = true
	if r.job == nil {
		s.forget(r)
	}
	s.change()
}

// forget ends all that a runner may still do. The lock is held.
func (s *Server) forget(r *registered) {
	delete(s.runnerOf, r.id)
	for _, timer := range []*time.Timer{r.offline, r.lost} {
		if timer != nil {
			timer.Stop()
		}
	}
	r.poke()
}

// shownBusy is what the API says: it may lag behind. The lock is held.
func (r *registered) shownBusy(now time.Time) bool {
	return r.job != nil && !now.Before(r.busyShown)
}
