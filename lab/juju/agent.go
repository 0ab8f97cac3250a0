package juju

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const (
	// maxRetryFactor bounds the growth of the wait before a failed hook runs
	// again.
	maxRetryFactor = 32

	defaultUpdateStatusInterval = 5 * time.Minute
)

// agent runs the hooks and actions of one unit, one at a time.
type agent struct {
	model *model
	app   *application
	unit  *unit

	// wake ends the agent's waiting. Capacity 1.
	wake chan struct{}

	// The server's lock guards what follows.
	tasks   []*task
	running *execution
	// retryAt is when a failed hook runs again; retryNow overrides it.
	retryAt    time.Time
	retryNow   bool
	nextUpdate time.Time
	// gone: the unit was removed.
	gone bool
}

// startAgent starts the agent of a unit. The lock is held.
func (s *Server) startAgent(m *model, a *application, u *unit) *agent {
	g := &agent{model: m, app: a, unit: u, wake: make(chan struct{}, 1), nextUpdate: time.Now().Add(m.updateStatusInterval())}
	s.agents[u] = g
	s.work.Go(func() { g.loop(s.ctx, s) })
	return g
}

func (g *agent) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// step is what an agent does next: at most one of the fields is set.
type step struct {
	hook   *operation
	task   *task
	remove bool
	// wait until then; zero is for ever.
	until time.Time
}

func (g *agent) loop(ctx context.Context, s *Server) {
	for ctx.Err() == nil {
		s.mu.Lock()
		next := g.next(s, time.Now())
		s.mu.Unlock()
		switch {
		case next.hook != nil:
			g.runHook(ctx, s, *next.hook)
		case next.task != nil:
			g.runTask(ctx, s, next.task)
		case next.remove:
			s.removeUnit(g)
			return
		default:
			g.rest(ctx, next.until)
		}
	}
}

// rest waits until the agent is woken, or until the time.
func (g *agent) rest(ctx context.Context, until time.Time) {
	var alarm <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
	case <-g.wake:
	case <-alarm:
	}
}

// next decides. The lock is held.
func (g *agent) next(s *Server, now time.Time) step {
	u := g.unit
	retries := g.model.retriesHooks()
	if u.Failed == "" || g.retryNow || retries && !now.Before(g.retryAt) {
		if o, ok := g.nextHook(s); ok {
			g.retryNow = false
			return g.beginHook(s, o)
		}
		if u.Dying {
			return step{remove: true}
		}
	}
	// Juju runs actions in a unit's error state, too.
	if len(g.tasks) > 0 {
		t := g.tasks[0]
		g.tasks = g.tasks[1:]
		g.setAgent(s, "executing", "running action "+t.Action)
		return step{task: t}
	}
	if u.Failed != "" && !retries {
		return step{}
	}
	if u.Failed != "" {
		return step{until: g.retryAt}
	}
	if u.Started && !now.Before(g.nextUpdate) {
		g.nextUpdate = now.Add(g.model.updateStatusInterval())
		u.Pending = append(u.Pending, newOperation("update-status"))
		return g.beginHook(s, u.Pending[0])
	}
	if u.Agent.Current != "idle" {
		g.setAgent(s, "idle", "")
	}
	if !u.Started {
		return step{}
	}
	return step{until: g.nextUpdate}
}

// nextHook is the hook to run now. Relation hooks come when no other is left,
// and the last hooks of a unit's life after them.
func (g *agent) nextHook(s *Server) (operation, bool) {
	u := g.unit
	for {
		if len(u.Pending) == 0 {
			if o, ok := g.model.relationHook(g.app, u); ok {
				u.Pending = append(u.Pending, o)
			} else if u.Dying {
				u.Pending, u.Farewell = u.Farewell, nil
			}
		}
		if len(u.Pending) == 0 {
			return operation{}, false
		}
		o := u.Pending[0]
		if o.Relation == nil {
			return o, true
		}
		if g.model.begin(*o.Relation, u) {
			if o.Relation.Kind == relationCreated {
				s.nudge(g.model)
			}
			return o, true
		}
		u.Pending = u.Pending[1:]
	}
}

func (g *agent) beginHook(s *Server, o operation) step {
	g.setAgent(s, "executing", fmt.Sprintf("running %s hook", o.Hook))
	return step{hook: &o}
}

func (g *agent) setAgent(s *Server, current, message string) {
	g.unit.Agent = status{Current: current, Message: message, Since: time.Now()}
	s.update()
}

// runHook runs one hook, if the charm has it.
func (g *agent) runHook(ctx context.Context, s *Server, o operation) {
	err := errors.Join(g.prepare(s, o), g.makeStorage(ctx, s, o))
	if err == nil {
		if path := g.program(s, filepath.Join("hooks", o.Hook)); path != "" {
			var outcome outcome
			outcome, err = s.execute(ctx, g, job{hook: o, path: path})
			if err == nil && outcome.code != 0 {
				err = fmt.Errorf("exit status %d", outcome.code)
			}
		}
	}
	if ctx.Err() != nil {
		return // the hook is the first again in the next process
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.update()
	if err != nil && !g.unit.Force {
		g.fail(s, o, err)
		return
	}
	g.complete(s, o)
}

// complete goes on from a hook, also one that an operator skips. The lock is held.
func (g *agent) complete(s *Server, o operation) {
	g.unit.Failed, g.unit.Attempts = "", 0
	// An operator may have asked for the retry that ran already.
	g.retryNow = false
	g.unit.Pending = slices.DeleteFunc(g.unit.Pending, func(p operation) bool { return p.ID == o.ID })
	if o.Relation != nil {
		g.model.commit(*o.Relation, g.unit)
		s.nudge(g.model)
	}
	if o.detaches() {
		g.letGo(s, o.Storage)
	}
	if o.Hook == "start" {
		g.unit.Started = true
		if g.app.File == "" {
			g.unit.Status = status{Current: "active", Message: "has no code in this lab", Since: time.Now()}
		}
		g.nextUpdate = time.Now().Add(g.model.updateStatusInterval())
	}
}

// prepare unpacks the charm before the hooks that want it.
func (g *agent) prepare(s *Server, o operation) error {
	if !o.Unpack {
		return nil
	}
	s.mu.Lock()
	file := g.app.File
	s.mu.Unlock()
	if err := s.unpackFor(g, file); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Once is enough, however often the hook is tried.
	if len(g.unit.Pending) > 0 && g.unit.Pending[0].ID == o.ID {
		g.unit.Pending[0].Unpack = false
	}
	if !g.unit.Started && g.unit.Status.Current == "waiting" {
		g.unit.Status = status{Current: "maintenance", Message: "installing charm software", Since: time.Now()}
	}
	return nil
}

// unpackFor gives a unit its charm. One from the store is an empty folder.
func (s *Server) unpackFor(g *agent, file string) error {
	if file != "" {
		return unpack(file, g.charmDir(s), s.options.GitHubURL)
	}
	if err := os.MkdirAll(g.charmDir(s), 0o755); err != nil {
		return fmt.Errorf("cannot make the unit's folder: %w", err)
	}
	return nil
}

// fail puts the unit into its error state. The lock is held.
func (g *agent) fail(s *Server, o operation, err error) {
	wait := s.options.FirstRetry * time.Duration(min(1<<min(g.unit.Attempts, 10), maxRetryFactor))
	g.unit.Failed = o.Hook
	g.unit.Attempts++
	g.unit.Agent = status{Current: "idle", Since: time.Now()}
	g.retryAt = time.Now().Add(wait)
	s.logFile.write(g.unit.tag(), "ERROR", "juju.worker.uniter.operation", fmt.Sprintf("hook %q failed: %v", o.Hook, err))
	s.logFile.write(g.unit.tag(), "INFO", "juju.worker.uniter", fmt.Sprintf("awaiting error resolution for %q hook", o.Hook))
}

// program is the file that answers to hooks/x or actions/x; empty when the charm
// has none.
func (g *agent) program(s *Server, name string) string {
	dir := g.charmDir(s)
	if info, err := os.Stat(filepath.Join(dir, "dispatch")); err == nil && info.Mode()&0o111 != 0 {
		return filepath.Join(dir, "dispatch")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// settled reports whether a unit does nothing and is about to do nothing, but
// for trying a failed hook again later. The lock is held.
func (s *Server) settled(u *unit) bool {
	g := s.agents[u]
	if g == nil || g.gone {
		return true
	}
	if g.running != nil || len(g.tasks) > 0 || g.retryNow || u.Agent.Current != "idle" {
		return false
	}
	if u.Failed != "" {
		return true
	}
	_, due := g.model.relationHook(g.app, u)
	return len(u.Pending) == 0 && !u.Dying && !due
}

// retriesHooks reports whether hooks that failed run again by themselves.
func (m *model) retriesHooks() bool {
	retries, err := strconv.ParseBool(m.option(retryOption))
	return retries || err != nil
}

func (m *model) updateStatusInterval() time.Duration {
	interval, err := time.ParseDuration(m.Config["update-status-hook-interval"])
	if err != nil || interval <= 0 {
		return defaultUpdateStatusInterval
	}
	return interval
}

// agentDir is where a unit has its charm.
func (s *Server) agentDir(m *model, u *unit) string {
	return s.path("models", m.Name, "agents", u.tag())
}

func (g *agent) charmDir(s *Server) string {
	return filepath.Join(s.agentDir(g.model, g.unit), "charm")
}
