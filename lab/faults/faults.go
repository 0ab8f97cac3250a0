// Package faults lets an emulated cloud go wrong on purpose: what goes wrong, how
// often it has, and the orders by which a test or the lab puts it into force.
package faults

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a kind of fault.
type Kind string

// Kinds say of each kind that a cloud has what it does, what its name pattern is
// compared with and what its duration means.
type Kinds map[Kind]string

// Lines returns all kinds with what they do, sorted.
func (k Kinds) Lines() []string {
	var lines []string
	for kind, does := range k {
		lines = append(lines, fmt.Sprintf("%-17s %s", kind, does))
	}
	slices.Sort(lines)
	return lines
}

// Fault is one thing that goes wrong on purpose.
type Fault struct {
	ID   int  `json:"id"`
	Kind Kind `json:"kind"`
	// Name is a shell pattern for what is concerned, mostly an instance's
	// name; "": everything.
	Name string `json:"name,omitempty"`
	// Count is how many times it happens; 0: until it is cleared.
	Count int `json:"count,omitempty"`
	// Message is what the cloud says.
	Message string `json:"message,omitempty"`
	// For is how long it takes, where that means something.
	For time.Duration `json:"for,omitempty"`
	// Status is the HTTP status of a failing call.
	Status int `json:"status,omitempty"`
	// Hits is how many times it has happened.
	Hits int `json:"hits"`
}

// Says is the fault's message, or the standard one.
func (f *Fault) Says(standard string) string {
	return cmp.Or(f.Message, standard)
}

// Lasts is the fault's duration, or the standard one.
func (f *Fault) Lasts(standard time.Duration) time.Duration {
	return cmp.Or(f.For, standard)
}

// Code is the fault's HTTP status, or the standard one.
func (f *Fault) Code(standard int) int {
	return cmp.Or(f.Status, standard)
}

func (f *Fault) fits(kind Kind, name string) bool {
	if f.Kind != kind || f.Count > 0 && f.Hits >= f.Count {
		return false
	}
	if f.Name == "" {
		return true
	}
	// Stars match slashes, too: paths are to be matched by "*/state".
	flat := strings.NewReplacer("/", "\x00")
	ok, err := path.Match(flat.Replace(f.Name), flat.Replace(name))
	return ok && err == nil
}

// Set is the faults of one cloud.
type Set struct {
	kinds Kinds
	check func(Fault) error

	mu   sync.Mutex
	next int
	all  []*Fault
}

// New returns an empty set for a cloud with these kinds. check refuses faults that
// make no sense in it; nil: all of its kinds make sense.
func New(kinds Kinds, check func(Fault) error) *Set {
	if check == nil {
		check = func(Fault) error { return nil }
	}
	return &Set{kinds: kinds, check: check, next: 1}
}

// Add checks a fault, puts it into force and returns it with its ID.
func (s *Set) Add(fault Fault) (Fault, error) {
	if s.kinds[fault.Kind] == "" {
		return Fault{}, fmt.Errorf("unknown kind of fault %q; known are:\n  %s", fault.Kind, strings.Join(s.kinds.Lines(), "\n  "))
	}
	if _, err := path.Match(fault.Name, ""); err != nil {
		return Fault{}, fmt.Errorf("bad name pattern %q: %w", fault.Name, err)
	}
	if err := s.check(fault); err != nil {
		return Fault{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fault.ID, fault.Hits = s.next, 0
	s.next++
	s.all = append(s.all, &fault)
	return fault, nil
}

// List returns the faults that were added and not cleared, oldest first.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := make([]Fault, 0, len(s.all))
	for _, fault := range s.all {
		shown = append(shown, *fault)
	}
	return shown
}

// Clear ends the fault with an ID, all of a kind, or all when what is empty; it
// returns how many it ended.
func (s *Set) Clear(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.all)
	s.all = slices.DeleteFunc(s.all, func(fault *Fault) bool {
		return what == "" || what == string(fault.Kind) || what == fmt.Sprint(fault.ID)
	})
	return before - len(s.all)
}

// Take returns the first fault in force of a kind that fits name, and counts it;
// nil when nothing goes wrong.
func (s *Set) Take(kind Kind, name string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range s.all {
		if fault.fits(kind, name) {
			fault.Hits++
			taken := *fault
			return &taken
		}
	}
	return nil
}
