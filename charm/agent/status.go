package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// Status is what the agent says of itself and of the unit's runners, as JSON.
// Times are in UTC, and zero, which is left out, where there is none.
type Status struct {
	// Build is the version of the program, Started when it started.
	Build   string    `json:"build"`
	Started time.Time `json:"started"`
	// Doing is what the agent does just now, Since since when.
	Doing string    `json:"doing"`
	Since time.Time `json:"since"`
	// Unit and Generation tell whose state is in force, and which.
	Unit       string `json:"unit,omitempty"`
	Generation uint64 `json:"generation,omitempty"`

	// Wanted is how many runners there should be, Runners those that are there
	// and Orphans registrations without a machine, as of Looked.
	Wanted  int       `json:"wanted"`
	Runners []Runner  `json:"runners,omitempty"`
	Orphans []string  `json:"orphans,omitempty"`
	Looked  time.Time `json:"looked,omitzero"`

	// Reconciled is when the agent was last done with all that was to be done,
	// and Took how long that had taken, in seconds.
	Reconciled time.Time `json:"reconciled,omitzero"`
	Took       float64   `json:"took-seconds,omitempty"`
	// LastError is what could not be done then, LastErrorAt when that was.
	LastError   string    `json:"last-error,omitempty"`
	LastErrorAt time.Time `json:"last-error-at,omitzero"`
	// BackOff is why no runner is created at present.
	BackOff *BackOff `json:"back-off,omitempty"`
	// NextWake is when the agent looks again, where nothing happens before.
	NextWake time.Time `json:"next-wake,omitzero"`
	// Image is how the making of the runners' image goes; nil where nothing is to be
	// said of it.
	Image *Image `json:"image,omitempty"`
	// Budget is what GitHub last said of its rate limit.
	Budget *unit.Budget `json:"github-budget,omitempty"`
	// FormerScopes are where runners may still be registered besides.
	FormerScopes []FormerScope `json:"former-scopes,omitempty"`
}

// Runner is one runner, as the agent judges it.
type Runner struct {
	Name     string    `json:"name"`
	Verdict  string    `json:"verdict"`
	Machine  string    `json:"machine"`
	Created  time.Time `json:"created,omitzero"`
	Template string    `json:"template,omitempty"`
	Outdated bool      `json:"outdated,omitempty"`
	InFlight bool      `json:"in-flight,omitempty"`
}

// BackOff is why, and until when, no runner is created.
type BackOff struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

// Image is how the making of the runners' image goes.
type Image struct {
	// Doing is what is done for a new one just now, Since since when.
	Doing string    `json:"doing,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// LastError is why none could be made the last time, LastErrorAt when that was.
	LastError   string    `json:"last-error,omitempty"`
	LastErrorAt time.Time `json:"last-error-at,omitzero"`
}

// FormerScope is a place that runners were registered at before.
type FormerScope struct {
	Scope string    `json:"scope"`
	Since time.Time `json:"since"`
}

// board holds the status for whoever asks.
type board struct {
	mu     sync.Mutex
	status Status
}

func newBoard(build string) *board {
	now := time.Now().UTC()
	return &board{status: Status{Build: build, Started: now, Since: now, Doing: "starting"}}
}

// read returns the status as it is.
func (b *board) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *board) change(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
}

func (b *board) say(doing string) {
	b.change(func(s *Status) {
		s.NextWake = time.Time{}
		s.Doing, s.Since = doing, time.Now().UTC()
	})
}

// wait notes until when the agent rests.
func (b *board) wait(until time.Time) {
	b.change(func(s *Status) {
		s.NextWake = until.UTC()
		if s.Doing == atWork {
			s.Doing, s.Since = waiting, time.Now().UTC()
		}
	})
}

// unit notes whose state is in force.
func (b *board) unit(past unitdir.State, inForce state.CharmState) {
	var former []FormerScope
	for _, scope := range past.FormerScopes {
		former = append(former, FormerScope{Scope: runner.Scope(scope.Scope).String(), Since: scope.Since})
	}
	b.change(func(s *Status) {
		s.Unit, s.Generation, s.FormerScopes = inForce.Owner.Unit, past.Generation, former
	})
}

// runners notes what was seen of the runners.
func (b *board) runners(result runner.Result) {
	var runners []Runner
	for _, r := range result.View.Runners {
		runners = append(runners, Runner{
			Name: r.Name, Verdict: string(r.Verdict), Machine: string(r.Status), Created: r.Created.UTC(),
			Template: r.Hash, Outdated: r.Outdated, InFlight: r.InFlight,
		})
	}
	orphans := map[string]bool{}
	for _, orphan := range result.View.Orphans {
		orphans[orphan.Name] = true
	}
	b.change(func(s *Status) {
		s.Wanted, s.Runners, s.Looked = result.Wanted, runners, result.View.Now.UTC()
		s.Orphans = slices.Sorted(maps.Keys(orphans))
		s.BackOff = nil
		if result.Held.Count > 0 {
			s.BackOff = &BackOff{Until: result.Held.Until.UTC(), Reason: result.Held.Reason}
		}
	})
}

// fail notes why nothing could be done.
func (b *board) fail(err error) {
	b.change(func(s *Status) {
		s.LastError, s.LastErrorAt = err.Error(), time.Now().UTC()
		s.Doing, s.Since = waiting, s.LastErrorAt
	})
}

// done notes how a Tend ended.
func (b *board) done(result runner.Result, budget unit.Budget, err error, took time.Duration) {
	if !result.View.Now.IsZero() {
		b.runners(result)
	}
	b.change(func(s *Status) {
		s.Reconciled, s.Took = time.Now().UTC(), took.Seconds()
		s.LastError, s.LastErrorAt, s.Budget = "", time.Time{}, nil
		if budget != (unit.Budget{}) {
			s.Budget = &budget
		}
		if err != nil {
			s.LastError, s.LastErrorAt = err.Error(), s.Reconciled
		}
	})
}

// image notes what is done for a new image.
func (b *board) image(doing string) {
	b.change(func(s *Status) {
		next := Image{Doing: doing, Since: time.Now().UTC()}
		if s.Image != nil {
			next.LastError, next.LastErrorAt = s.Image.LastError, s.Image.LastErrorAt
		}
		s.Image = &next
	})
}

// imageEnded notes how a look whether an image is due, or the making of one, ended.
func (b *board) imageEnded(err error) {
	b.change(func(s *Status) {
		s.Image = nil
		if err != nil {
			s.Image = &Image{LastError: err.Error(), LastErrorAt: time.Now().UTC()}
		}
	})
}
