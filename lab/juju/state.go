package juju

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// state is all that outlives the process.
type state struct {
	// Current is the model that commands without -m are for.
	Current string            `json:"current"`
	Models  map[string]*model `json:"models"`
	// Tasks counts operations and tasks: they share their numbers.
	Tasks int `json:"tasks"`
}

type model struct {
	Name         string                  `json:"name"`
	UUID         string                  `json:"uuid"`
	Config       map[string]string       `json:"config"`
	Applications map[string]*application `json:"applications"`
	Secrets      map[string]*userSecret  `json:"secrets"`
	// Units and Storages count what there ever was: numbers are not used again.
	Units    map[string]int `json:"units"`
	Storages int            `json:"storages"`
	// Detached are the storages that no unit has.
	Detached     map[string]storage `json:"detached,omitempty"`
	LastRelation int                `json:"last-relation"`
	Relations    map[int]*relation  `json:"relations"`
}

type application struct {
	Name     string `json:"name"`
	Charm    charm  `json:"charm"`
	Revision int    `json:"revision"`
	Base     string `json:"base"`
	// File is the model's own copy of the .charm file; empty for a charm from the
	// store, which has no code here.
	File     string         `json:"file"`
	Settings map[string]any `json:"settings"`
	Version  string         `json:"version"`
	Dying    bool           `json:"dying"`
	Units    map[int]*unit  `json:"units"`
}

type unit struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
	Status status `json:"status"`
	// Agent is what 'juju status' shows as the agent's status.
	Agent   status `json:"agent"`
	Started bool   `json:"started"`
	Dying   bool   `json:"dying"`
	// Force: the removal does not stop at a hook that fails.
	Force bool `json:"force"`
	// Pending are the hooks to run; the first may be running. It goes when it
	// has succeeded.
	Pending []operation `json:"pending"`
	// Farewell are the hooks that follow once a dying unit has left its
	// relations.
	Farewell []operation `json:"farewell"`
	// Relations are those that the unit is in, by number.
	Relations map[int]*membership `json:"relations"`
	// Failed is the hook that put the unit into its error state.
	Failed   string             `json:"failed"`
	Attempts int                `json:"attempts"`
	State    map[string]string  `json:"state"`
	Storage  map[string]storage `json:"storage"`
	// Secrets has the revision that the unit follows, by secret id.
	Secrets map[string]int `json:"secrets"`
}

type status struct {
	Current string    `json:"current"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// operation is one hook that is to run.
type operation struct {
	ID   string `json:"id"`
	Hook string `json:"hook"`
	// Unpack: the application's charm is unpacked before.
	Unpack bool `json:"unpack,omitempty"`
	// Storage is the id of the storage that the hook tells of.
	Storage string `json:"storage,omitempty"`
	// Variables are the environment variables of this kind of hook.
	Variables []string `json:"variables,omitempty"`
	// Relation is set for relation hooks.
	Relation *relationEvent `json:"relation,omitempty"`
}

func newOperation(hook string, variables ...string) operation {
	return operation{ID: rand.Text(), Hook: hook, Variables: variables}
}

func newModel(name string) *model {
	return &model{
		Name:         name,
		UUID:         newUUID(),
		Config:       map[string]string{},
		Applications: map[string]*application{},
		Secrets:      map[string]*userSecret{},
		Units:        map[string]int{},
		Relations:    map[int]*relation{},
	}
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its contract
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// loadState reads the state; a lab that has none yet gets one model.
func loadState(path string) (*state, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		first := newModel(firstModel)
		return &state{Current: first.Name, Models: map[string]*model{first.Name: first}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the model: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	s := &state{}
	if err := decoder.Decode(s); err != nil {
		return nil, fmt.Errorf("cannot read the model from %s: %w", path, err)
	}
	for _, m := range s.Models {
		for _, a := range m.Applications {
			if err := a.retype(); err != nil {
				return nil, fmt.Errorf("cannot read the model from %s: %w", path, err)
			}
		}
	}
	return s, nil
}

// retype gives values that went through JSON their types again.
func (a *application) retype() error {
	var err error
	for name, o := range a.Charm.Options {
		if o.Default, err = o.fit(name, o.Default); err != nil {
			return err
		}
		a.Charm.Options[name] = o
		if value, set := a.Settings[name]; set {
			if a.Settings[name], err = o.fit(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortedUnits are the units by number.
func (a *application) sortedUnits() []*unit {
	return slices.SortedFunc(maps.Values(a.Units), func(x, y *unit) int { return cmp.Compare(x.Number, y.Number) })
}

// leader is the unit of the lowest number that stays; nil without units.
func (a *application) leader() *unit {
	for _, u := range a.sortedUnits() {
		if !u.Dying {
			return u
		}
	}
	return nil
}

// unit returns a unit by its name, or by "app/leader".
func (m *model) unit(name string) (*application, *unit, error) {
	appName, number, ok := strings.Cut(name, "/")
	a := m.Applications[appName]
	if !ok || appName == "" {
		return nil, nil, fmt.Errorf("invalid unit name %q", name)
	}
	if a == nil {
		return nil, nil, fmt.Errorf("unit %q not found", name)
	}
	if number == "leader" {
		if u := a.leader(); u != nil {
			return a, u, nil
		}
		return nil, nil, fmt.Errorf("could not determine leader for %q", appName)
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, nil, fmt.Errorf("invalid unit name %q", name)
	}
	u := a.Units[n]
	if u == nil {
		return nil, nil, fmt.Errorf("unit %q not found", name)
	}
	return a, u, nil
}

func (m *model) application(name string) (*application, error) {
	if a := m.Applications[name]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("application %q not found", name)
}

// shown is the workload's status as Juju shows it: a failed hook hides what the
// charm set.
func (u *unit) shown() status {
	if u.Failed == "" {
		return u.Status
	}
	return status{Current: "error", Message: fmt.Sprintf("hook failed: %q", u.Failed), Since: u.Agent.Since}
}
