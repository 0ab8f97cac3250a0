package juju

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// log adds a line to what the operator sees of a running action. The server's
// lock is held.
func (t *task) log(text string) {
	t.Log = append(t.Log, time.Now().Format("2006-01-02 15:04:05 -0700 MST")+" "+text)
}

// enqueue gives a task to the agent of its unit. The lock is held.
func (s *Server) enqueue(u *unit, t *task) {
	s.state.Tasks++
	t.ID = s.state.Tasks
	t.Unit = u.Name
	t.Enqueued = time.Now()
	t.done = make(chan struct{})
	g := s.agents[u]
	if g == nil || g.gone {
		t.end(taskError, "unit is gone")
		return
	}
	g.tasks = append(g.tasks, t)
	g.nudge()
	s.update()
}

// end settles a task. The server's lock is held.
func (t *task) end(status, message string) {
	t.Status, t.Message = status, message
	t.Completed = time.Now()
	close(t.done)
}

// runTask runs an action or a command.
func (g *agent) runTask(ctx context.Context, s *Server, t *task) {
	t.Begun = time.Now()
	j := job{task: t}
	if t.Action == commandAction {
		j.path, j.args = "/bin/bash", []string{"-c", t.Command}
	} else {
		j.path = g.program(s, filepath.Join("actions", t.Action))
	}
	var result outcome
	err := fmt.Errorf("action not implemented on unit %q", g.unit.Name)
	if j.path != "" {
		result, err = s.execute(ctx, g, j)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.update()
	if err != nil {
		t.end(taskFailed, err.Error())
		t.Code = 1
		return
	}
	t.Code = result.code
	if t.Results == nil {
		t.Results = map[string]any{}
	}
	t.Results["return-code"] = result.code
	if result.signal != 0 {
		delete(t.Results, "return-code")
	}
	addOutput(t.Results, "stdout", result.stdout.String())
	addOutput(t.Results, "stderr", result.stderr.String())
	switch {
	case result.signal != 0:
		t.end(taskFailed, "action terminated")
	case result.code != 0 && t.Action != commandAction && t.Message == "":
		t.end(taskFailed, result.describe())
	case t.Status == taskFailed:
		t.end(taskFailed, t.Message)
	default:
		t.end(taskCompleted, "")
	}
}

func addOutput(results map[string]any, key, text string) {
	if text = strings.ToValidUTF8(text, "\ufffd"); text != "" {
		results[key] = text
	}
}

// abandon ends the tasks of a unit that is gone. The lock is held.
func (g *agent) abandon() {
	for _, t := range g.tasks {
		t.end(taskError, "unit is gone")
	}
	g.tasks = nil
}
