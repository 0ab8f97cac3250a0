package juju

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The roles of an endpoint, by Juju's names.
const (
	rolePeer     = "peer"
	roleProvider = "provider"
	roleRequirer = "requirer"
)

// endpoint is an entry of metadata.yaml's peers, provides or requires.
type endpoint struct {
	Role      string `json:"role"`
	Interface string `json:"interface"`
}

// relation connects the units of two applications, or those of one with each
// other.
type relation struct {
	Number int `json:"number"`
	// Ends are the requirer's and the provider's; a peer relation has one.
	Ends  []end `json:"ends"`
	Dying bool  `json:"dying"`
	// Bags are by the name of the unit or application that writes into one.
	Bags map[string]*databag `json:"bags"`
}

// end is where a relation meets an application.
type end struct {
	App       string `json:"app"`
	Endpoint  string `json:"endpoint"`
	Role      string `json:"role"`
	Interface string `json:"interface"`
}

// databag is what one unit or application tells the other side.
type databag struct {
	Data map[string]string `json:"data"`
	// Version grows with each change; the first is 1.
	Version int `json:"version"`
}

// membership is what a unit knows of a relation that it is in.
type membership struct {
	// Members are the remote units that it was told of, each with the version of
	// its databag that the unit was last told of; 0: none yet.
	Members map[string]int `json:"members"`
	// Application is that version of the remote application's databag.
	Application int `json:"application"`
}

// relationEvent is what a relation hook is about.
type relationEvent struct {
	Number int    `json:"number"`
	Kind   string `json:"kind"`
	// Unit is the remote one, if it is about one.
	Unit string `json:"unit,omitempty"`
	// Version is that of the databag that a hook "changed" tells of.
	Version int `json:"version,omitempty"`
}

// The kinds of relation hooks.
const (
	relationCreated  = "created"
	relationJoined   = "joined"
	relationChanged  = "changed"
	relationDeparted = "departed"
	relationBroken   = "broken"
)

func (e end) String() string {
	return e.App + ":" + e.Endpoint
}

// key names the relation in Juju's messages.
func (r *relation) key() string {
	var ends []string
	for _, e := range r.Ends {
		ends = append(ends, e.String())
	}
	return strings.Join(ends, " ")
}

func (r *relation) isPeer() bool {
	return len(r.Ends) == 1
}

// has reports whether an application is at one of the ends.
func (r *relation) has(app string) bool {
	return r.Ends[0].App == app || r.Ends[len(r.Ends)-1].App == app
}

// near is the application's own end, far the other one.
func (r *relation) near(app string) end {
	if r.Ends[0].App == app {
		return r.Ends[0]
	}
	return r.Ends[len(r.Ends)-1]
}

func (r *relation) far(app string) end {
	if r.Ends[0].App == app {
		return r.Ends[len(r.Ends)-1]
	}
	return r.Ends[0]
}

// id is the relation's by the name that an application has for it.
func (r *relation) id(app string) string {
	return r.near(app).Endpoint + ":" + strconv.Itoa(r.Number)
}

// version is that of a databag; 0 where nothing was ever written.
func (r *relation) version(owner string) int {
	if bag := r.Bags[owner]; bag != nil {
		return bag.Version
	}
	return 0
}

// write changes a databag; an empty value removes its key.
func (r *relation) write(owner string, changes map[string]string) {
	bag := r.Bags[owner]
	if bag == nil {
		bag = &databag{}
		r.Bags[owner] = bag
	}
	data := maps.Clone(bag.Data)
	if data == nil {
		data = map[string]string{}
	}
	for key, value := range changes {
		data[key] = value
		if value == "" {
			delete(data, key)
		}
	}
	if bag.Version == 0 || !maps.Equal(data, bag.Data) {
		bag.Data = data
		bag.Version++
	}
}

// addRelation connects endpoints. The lock is held.
func (m *model) addRelation(ends ...end) *relation {
	r := &relation{Number: m.LastRelation, Ends: ends, Bags: map[string]*databag{}}
	m.LastRelation++
	m.Relations[r.Number] = r
	return r
}

// addPeers makes the application's peer relations, as far as there are none yet.
func (m *model) addPeers(a *application) {
	for _, name := range slices.Sorted(maps.Keys(a.Charm.Endpoints)) {
		e := end{a.Name, name, a.Charm.Endpoints[name].Role, a.Charm.Endpoints[name].Interface}
		known := func(r *relation) bool { return r.isPeer() && r.Ends[0] == e }
		if e.Role == rolePeer && !slices.ContainsFunc(m.relationsOf(a.Name), known) {
			m.addRelation(e)
		}
	}
}

// relationsOf are an application's relations, the oldest first.
func (m *model) relationsOf(app string) []*relation {
	var found []*relation
	for _, number := range slices.Sorted(maps.Keys(m.Relations)) {
		r := m.Relations[number]
		if r.has(app) {
			found = append(found, r)
		}
	}
	return found
}

// others are the units that are in a relation with one, in the order of their
// names.
func (m *model) others(r *relation, u *unit, app string) []string {
	far := m.Applications[r.far(app).App]
	if far == nil {
		return nil
	}
	var names []string
	for _, other := range far.Units {
		if other != u && !other.Dying && other.Relations[r.Number] != nil {
			names = append(names, other.Name)
		}
	}
	slices.Sort(names)
	return names
}

// relationHook is the next relation hook that a unit is to run, if there is one.
func (m *model) relationHook(a *application, u *unit) (operation, bool) {
	for _, r := range m.relationsOf(a.Name) {
		if event, ok := m.event(r, a, u); ok {
			return r.operation(event, a, u), true
		}
	}
	return operation{}, false
}

// event compares what a unit was told of a relation with how it is.
func (m *model) event(r *relation, a *application, u *unit) (relationEvent, bool) {
	leaving := r.Dying || u.Dying
	member := u.Relations[r.Number]
	if member == nil {
		return relationEvent{Number: r.Number, Kind: relationCreated}, !leaving
	}
	var present []string
	if !leaving {
		present = m.others(r, u, a.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(member.Members)) {
		if !slices.Contains(present, name) {
			return relationEvent{Number: r.Number, Kind: relationDeparted, Unit: name}, true
		}
	}
	if leaving {
		// Juju does not break peer relations.
		return relationEvent{Number: r.Number, Kind: relationBroken}, !r.isPeer()
	}
	for _, name := range present {
		told, known := member.Members[name]
		if !known {
			return relationEvent{Number: r.Number, Kind: relationJoined, Unit: name}, true
		}
		if now := r.version(name); told != now {
			return relationEvent{Number: r.Number, Kind: relationChanged, Unit: name, Version: now}, true
		}
	}
	if now := r.version(r.far(a.Name).App); member.Application != now && !r.isPeer() {
		return relationEvent{Number: r.Number, Kind: relationChanged, Version: now}, true
	}
	return relationEvent{}, false
}

// operation is the hook for an event.
func (r *relation) operation(event relationEvent, a *application, u *unit) operation {
	near := r.near(a.Name)
	variables := []string{
		"JUJU_RELATION=" + near.Endpoint,
		"JUJU_RELATION_ID=" + r.id(a.Name),
		"JUJU_REMOTE_UNIT=" + event.Unit,
		"JUJU_REMOTE_APP=" + r.far(a.Name).App,
	}
	if event.Kind == relationDeparted {
		departing := event.Unit
		if u.Dying || a.Dying {
			departing = u.Name
		}
		variables = append(variables, "JUJU_DEPARTING_UNIT="+departing)
	}
	o := newOperation(near.Endpoint+"-relation-"+event.Kind, variables...)
	o.Relation = &event
	return o
}

// begin lets a unit into a relation, as soon as it begins to be told of it: the
// others hear of it, and it has a databag. It is false for a hook that has
// become pointless.
func (m *model) begin(event relationEvent, u *unit) bool {
	r := m.Relations[event.Number]
	if event.Kind != relationCreated {
		return true
	}
	if r == nil || r.Dying {
		return false
	}
	if u.Relations[r.Number] == nil {
		u.Relations[r.Number] = &membership{Members: map[string]int{}}
		r.write(u.Name, map[string]string{"egress-subnets": machineAddress + "/32", "ingress-address": machineAddress})
	}
	return true
}

// commit notes what a unit has been told.
func (m *model) commit(event relationEvent, u *unit) {
	member := u.Relations[event.Number]
	if member == nil {
		return
	}
	switch {
	case event.Kind == relationJoined:
		member.Members[event.Unit] = 0
	case event.Kind == relationChanged && event.Unit == "":
		member.Application = event.Version
	case event.Kind == relationChanged:
		member.Members[event.Unit] = event.Version
	case event.Kind == relationDeparted:
		delete(member.Members, event.Unit)
	case event.Kind == relationBroken:
		delete(u.Relations, event.Number)
		m.reap()
	}
}

// reap forgets relations that nobody is in any more.
func (m *model) reap() {
	maps.DeleteFunc(m.Relations, func(number int, r *relation) bool {
		if r.isPeer() {
			return m.Applications[r.Ends[0].App] == nil
		}
		return r.Dying && len(m.unitsIn(r)) == 0
	})
}

// unitsIn are all units that are in a relation, also those that are leaving.
func (m *model) unitsIn(r *relation) []*unit {
	var units []*unit
	for _, e := range r.Ends {
		a := m.Applications[e.App]
		if a == nil {
			continue
		}
		for _, u := range a.sortedUnits() {
			if u.Relations[r.Number] != nil {
				units = append(units, u)
			}
		}
	}
	return units
}

// breakRelation begins the end of a relation. The lock is held.
func (s *Server) breakRelation(m *model, r *relation) {
	r.Dying = true
	m.reap()
	s.nudge(m)
}

// nudge lets all agents of a model look at what there is to do.
func (s *Server) nudge(m *model) {
	for _, g := range s.agents {
		if g.model == m {
			g.nudge()
		}
	}
}
