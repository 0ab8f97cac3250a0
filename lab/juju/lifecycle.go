package juju

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// All units are on this machine.
	machineID      = "0"
	machineAddress = "127.0.0.1"
)

func (u *unit) tag() string {
	return "unit-" + strings.ReplaceAll(u.Name, "/", "-")
}

// takeCharm keeps a copy of a .charm file and reads it.
func (s *Server) takeCharm(path string) (kept string, c charm, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", charm{}, fmt.Errorf("no charm was found at %q", path)
	case err != nil:
		return "", charm{}, fmt.Errorf("cannot read the charm: %w", err)
	case info.IsDir():
		return "", charm{}, errors.New("deploying from directory not supported")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", charm{}, fmt.Errorf("cannot read the charm: %w", err)
	}
	sum := sha256.Sum256(content)
	kept = s.path("charms", fmt.Sprintf("%x.charm", sum[:8]))
	if err := replaceFile(kept, content, 0o644); err != nil {
		return "", charm{}, fmt.Errorf("cannot keep the charm: %w", err)
	}
	scratch, err := os.MkdirTemp(s.path("charms"), "read-")
	if err != nil {
		return "", charm{}, fmt.Errorf("cannot read the charm: %w", err)
	}
	defer os.RemoveAll(scratch)
	if err := unpack(kept, scratch, s.options.GitHubURL); err != nil {
		return "", charm{}, err
	}
	c, err = readCharm(scratch)
	return kept, c, err
}

// addUnit makes a unit with its storage, and starts its agent, which unpacks the
// charm. wanted has the storages. The lock is held.
func (s *Server) addUnit(m *model, a *application, wanted map[string]wish) *unit {
	number := m.Units[a.Name]
	u := &unit{
		Name:    a.Name + "/" + strconv.Itoa(number),
		Number:  number,
		Status:  status{Current: "waiting", Message: "installing agent", Since: time.Now()},
		Agent:   status{Current: "allocating", Since: time.Now()},
		State:   map[string]string{},
		Storage: map[string]storage{},
		Secrets: map[string]int{},

		Relations: map[int]*membership{},
	}
	for name, w := range wanted {
		for range w.count {
			s.addStorage(m, a, u, name, w.size)
		}
	}
	m.Units[a.Name]++
	a.Units[number] = u
	u.Pending = append(u.Pending, newOperation("install"))
	for _, r := range m.relationsOf(a.Name) {
		if !r.Dying {
			u.Pending = append(u.Pending, r.operation(relationEvent{Number: r.Number, Kind: relationCreated}, a, u))
		}
	}
	if a.leader() == u {
		u.Pending = append(u.Pending, newOperation("leader-elected"))
	}
	u.Pending = append(u.Pending, newOperation("config-changed"), newOperation("start"))
	u.Pending[0].Unpack = true
	s.startAgent(m, a, u)
	return u
}

// queue adds hooks for a unit to run. The lock is held.
func (s *Server) queue(u *unit, operations ...operation) {
	u.Pending = append(u.Pending, operations...)
	if g := s.agents[u]; g != nil {
		g.nudge()
	}
}

// configChanged tells the units that there is something new; a hook that failed
// is tried again at once. The lock is held.
func (s *Server) configChanged(a *application) {
	for _, u := range a.sortedUnits() {
		g := s.agents[u]
		if u.Dying || g == nil {
			continue
		}
		waiting := u.Pending
		if g.running != nil && g.running.name == "config-changed" && len(waiting) > 0 {
			waiting = waiting[1:]
		}
		if !slices.ContainsFunc(waiting, func(o operation) bool { return o.Hook == "config-changed" }) {
			u.Pending = append(u.Pending, newOperation("config-changed"))
		}
		s.retry(u)
	}
}

// retry runs a failed hook again now. The lock is held.
func (s *Server) retry(u *unit) {
	g := s.agents[u]
	if g == nil {
		return
	}
	g.retryNow = u.Failed != ""
	g.nudge()
}

// retire begins the removal of a unit. The lock is held.
func (s *Server) retire(m *model, a *application, u *unit, force bool) {
	g := s.agents[u]
	wasLeader := a.leader() == u
	if !u.Dying {
		u.Dying = true
		// What runs, or failed, comes to its end first.
		keep := 0
		if (g.running != nil || u.Failed != "" || u.Agent.Current == "executing") && len(u.Pending) > 0 {
			keep = 1
		}
		u.Pending = u.Pending[:keep:keep]
		u.Farewell = farewell(m, a, u)
	}
	if force {
		u.Force = true
		s.retry(u)
	}
	if next := a.leader(); wasLeader && next != nil {
		s.queue(next, newOperation("leader-elected"))
	}
	s.nudge(m)
}

// farewell are the last hooks of a unit's end. Juju 4 runs none for a unit without
// relations and storage.
func farewell(m *model, a *application, u *unit) []operation {
	if len(m.relationsOf(a.Name)) == 0 && len(u.Storage) == 0 {
		return nil
	}
	var hooks []operation
	for id := range u.Storage {
		hooks = append(hooks, u.storageOperation(id, "detaching"))
	}
	return append(hooks, newOperation("stop"), newOperation("remove"))
}

// removeUnit forgets a unit whose last hook has run.
func (s *Server) removeUnit(g *agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.update()
	problems := []error{os.RemoveAll(s.agentDir(g.model, g.unit))}
	for _, attached := range g.unit.Storage {
		problems = append(problems, attached.destroy())
	}
	if err := errors.Join(problems...); err != nil {
		s.logFile.write(g.unit.tag(), "ERROR", "juju.worker.uniter", fmt.Sprintf("cannot remove the unit's files: %v", err))
	}
	g.gone = true
	g.abandon()
	delete(s.agents, g.unit)
	delete(g.app.Units, g.unit.Number)
	if g.app.Dying && len(g.app.Units) == 0 {
		delete(g.model.Applications, g.app.Name)
	}
	g.model.reap()
	s.nudge(g.model)
}
