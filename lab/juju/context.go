package juju

import (
	"maps"
	"time"
)

// hookContext is what the hook tools of one process see and change. The
// configuration is that of the process's start, as in Juju.
type hookContext struct {
	id     string
	module string

	model *model
	app   *application
	unit  *unit
	job   job

	config map[string]any
	// state is what state-set did; it counts once the process has exited with 0.
	state map[string]string
	// relations are those that the unit is in, by number.
	relations map[int]*relationView
	// secrets are revisions that secret-get --refresh moved to.
	secrets map[string]int
	// results and failure are the action's.
	results map[string]any
	failure *string
}

func (s *Server) openContext(g *agent, j job) *hookContext {
	s.mu.Lock()
	defer s.mu.Unlock()
	hc := &hookContext{
		id:      newContextID(g, j),
		module:  "unit." + g.unit.Name + ".juju-log",
		model:   g.model,
		app:     g.app,
		unit:    g.unit,
		job:     j,
		config:  g.app.effective(),
		state:   maps.Clone(g.unit.State),
		secrets: maps.Clone(g.unit.Secrets),
		results: map[string]any{},

		relations: relationViews(g.model, g.unit, j),
	}
	if hc.state == nil {
		hc.state = map[string]string{}
	}
	if hc.secrets == nil {
		hc.secrets = map[string]int{}
	}
	s.contexts[hc.id] = hc
	return hc
}

// closeContext ends the context: tools that outlive their hook are refused.
func (s *Server) closeContext(hc *hookContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.contexts, hc.id)
	if t := hc.job.task; t != nil {
		t.Results = hc.results
		if hc.failure != nil {
			t.Status, t.Message = taskFailed, *hc.failure
		}
	}
}

// keep stores what the process set.
func (s *Server) keep(hc *hookContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hc.unit.State = hc.state
	hc.unit.Secrets = hc.secrets
	if told := hc.keepRelations(); len(told) > 0 {
		if hc.job.task != nil {
			hc.job.task.told = told
		}
		s.nudge(hc.model)
	}
	s.update()
}

func (hc *hookContext) setStatus(current, message string) {
	hc.unit.Status = status{Current: current, Message: message, Since: time.Now()}
}
