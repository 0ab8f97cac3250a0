package juju

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

func cmdRun(i *invocation) func(context.Context) error {
	format := i.flags.String("format", "plain", "")
	file := i.flags.String("params", "", "")
	background := i.flags.Bool("background", false, "")
	asStrings := i.flags.Bool("string-args", false, "")
	wait := i.flags.Duration("wait", 0, "")
	i.flags.Bool("utc", false, "")
	return func(ctx context.Context) error {
		units, action, pairs, err := splitRun(i.args)
		if err != nil {
			return err
		}
		params, err := i.params(pairs, *file, *asStrings)
		if err != nil {
			return err
		}
		tasks, err := i.start(units, func(a *application) (*task, error) { return a.newAction(action, params) })
		if err != nil {
			return err
		}
		i.announce(tasks)
		if *background || i.noWait {
			return nil
		}
		if *wait > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, *wait, fmt.Errorf("timed out waiting for the tasks after %v; they go on", *wait))
			defer cancel()
		}
		if err := i.follow(ctx, tasks); err != nil {
			return err
		}
		if *format == "plain" {
			i.printPlain(tasks)
		} else if err := encode(i.stdout, *format, i.results(tasks)); err != nil {
			return err
		}
		return i.verdict(tasks)
	}
}

// splitRun tells units, the action and its parameters apart.
func splitRun(args []string) (units []string, action string, pairs []string, err error) {
	n := slices.IndexFunc(args, func(arg string) bool { return !strings.Contains(arg, "/") || strings.Contains(arg, "=") })
	switch {
	case len(args) == 0 || n == 0:
		return nil, "", nil, usagef("no unit specified")
	case n < 0 || strings.Contains(args[n], "="):
		return nil, "", nil, usagef("no action specified")
	}
	return args[:n], args[n], args[n+1:], nil
}

func (i *invocation) params(pairs []string, file string, asStrings bool) (map[string]any, error) {
	params := map[string]any{}
	if file != "" {
		content, err := os.ReadFile(inDir(i.dir, file))
		if err != nil {
			return nil, fmt.Errorf("cannot read parameters: %w", err)
		}
		if err := yaml.Unmarshal(content, &params); err != nil {
			return nil, fmt.Errorf("cannot read parameters from %s: %w", file, err)
		}
	}
	parsed, err := parseParams(pairs, asStrings)
	if err != nil {
		return nil, err
	}
	maps.Copy(params, parsed)
	return params, nil
}

// newAction makes a task; parameters that the charm does not allow make one that
// has ended in error.
func (a *application) newAction(name string, params map[string]any) (*task, error) {
	spec, ok := a.Charm.Actions[name]
	if !ok {
		return nil, fmt.Errorf("action %q not defined on application %q", name, a.Name)
	}
	complete, err := spec.complete(params)
	if err != nil {
		return &task{Action: name, Status: taskError, Message: err.Error()}, nil
	}
	return &task{Action: name, Params: complete}, nil
}

// start gives each unit a task.
func (i *invocation) start(names []string, make func(*application) (*task, error)) ([]*task, error) {
	var tasks []*task
	err := i.locked(func(m *model) error {
		var units []*unit
		for _, name := range names {
			a, u, err := m.unit(name)
			if err != nil {
				return err
			}
			t, err := make(a)
			if err != nil {
				return err
			}
			tasks, units = append(tasks, t), append(units, u)
		}
		i.server.state.Tasks++ // the operation has a number, too
		for n, t := range tasks {
			i.server.enqueueOrRefuse(units[n], t)
		}
		return nil
	})
	return tasks, err
}

func (s *Server) enqueueOrRefuse(u *unit, t *task) {
	if t.Status != taskError {
		s.enqueue(u, t)
		return
	}
	s.state.Tasks++
	t.ID, t.Unit, t.Enqueued, t.done = s.state.Tasks, u.Name, time.Now(), make(chan struct{})
	t.end(taskError, t.Message)
}

func (i *invocation) announce(tasks []*task) {
	fmt.Fprintf(i.stderr, "Running operation %d with %d %s\n", tasks[0].ID-1, len(tasks), plural("task", len(tasks)))
	for _, t := range tasks {
		fmt.Fprintf(i.stderr, "  - task %d on unit-%s\n", t.ID, strings.ReplaceAll(t.Unit, "/", "-"))
	}
	fmt.Fprintln(i.stderr)
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// follow waits for the tasks and prints what they log meanwhile.
func (i *invocation) follow(ctx context.Context, tasks []*task) error {
	for _, t := range tasks {
		fmt.Fprintf(i.stderr, "Waiting for task %d...\n", t.ID)
		shown := 0
		for {
			i.server.mu.Lock()
			fresh, changed := slices.Clone(t.Log[shown:]), i.server.changed
			i.server.mu.Unlock()
			shown += len(fresh)
			for _, line := range fresh {
				fmt.Fprintln(i.stderr, line)
			}
			select {
			case <-t.done:
				if i.logged(t) > shown {
					continue
				}
			case <-changed:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			break
		}
	}
	return nil
}

func (i *invocation) logged(t *task) int {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	return len(t.Log)
}

// printPlain prints results as 'juju run' does: those of the only task as they
// are, those of several under their units.
func (i *invocation) printPlain(tasks []*task) {
	if len(tasks) > 1 {
		encode(i.stdout, "yaml", i.results(tasks))
		return
	}
	t := tasks[0]
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	if t.Status != taskCompleted {
		fmt.Fprintf(i.stdout, "Action id %d failed: %s\n", t.ID, t.Message)
	}
	results := maps.Clone(t.Results)
	for _, stream := range []string{"stdout", "stderr"} {
		if text, ok := results[stream].(string); ok {
			fmt.Fprintln(map[string]io.Writer{"stdout": i.stdout, "stderr": i.stderr}[stream], strings.TrimRight(text, "\n"))
		}
		delete(results, stream)
	}
	delete(results, "return-code")
	if len(results) > 0 {
		encode(i.stdout, "yaml", results)
	}
}

// results are the tasks by unit, in the shape of 'juju run --format json'.
func (i *invocation) results(tasks []*task) map[string]any {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	all := map[string]any{}
	for _, t := range tasks {
		entry := map[string]any{"id": fmt.Sprint(t.ID), "status": t.Status, "unit": t.Unit, "timing": t.timing()}
		if t.Results != nil {
			entry["results"] = t.Results
		}
		if len(t.Log) > 0 {
			entry["log"] = t.Log
		}
		if t.Message != "" {
			entry["message"] = t.Message
		}
		all[t.Unit] = entry
	}
	return all
}

func (t *task) timing() map[string]string {
	timing := map[string]string{}
	for name, at := range map[string]time.Time{"enqueued": t.Enqueued, "started": t.Begun, "completed": t.Completed} {
		if !at.IsZero() {
			timing[name] = at.Format("2006-01-02 15:04:05 -0700 MST")
		}
	}
	return timing
}

// verdict is the error for tasks whose process failed. An action that only
// declared itself failed is none: 'juju run' exits with 0 then.
func (i *invocation) verdict(tasks []*task) error {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	var failed []string
	for _, t := range tasks {
		code, exited := t.Results["return-code"]
		switch {
		case t.Status == taskError:
			failed = append(failed, fmt.Sprintf(" - id \"%d\" was refused: %s", t.ID, t.Message))
		case t.Status == taskFailed && (!exited || code != 0):
			failed = append(failed, fmt.Sprintf(" - id \"%d\" with return code %d", t.ID, t.Code))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return errors.New("the following " + plural("task", len(failed)) + " failed:\n" + strings.Join(failed, "\n"))
}

func cmdExec(i *invocation) func(context.Context) error {
	var units, applications list
	i.flags.Var(&units, "unit", "")
	i.flags.Var(&units, "u", "")
	i.flags.Var(&applications, "application", "")
	i.flags.Var(&applications, "a", "")
	all := i.flags.Bool("all", false, "")
	format := i.flags.String("format", "plain", "")
	i.flags.Duration("wait", 0, "")
	return func(ctx context.Context) error {
		if len(i.args) == 0 {
			return usagef("no commands specified")
		}
		names, err := i.targets(units, applications, *all)
		if err != nil {
			return err
		}
		command := strings.Join(i.args, " ")
		tasks, err := i.start(names, func(*application) (*task, error) {
			return &task{Action: commandAction, Command: command, Params: map[string]any{"command": command, "timeout": int64(5 * time.Minute)}}, nil
		})
		if err != nil || i.noWait {
			return err
		}
		if err := i.followQuietly(ctx, tasks); err != nil {
			return err
		}
		if err := i.wait(ctx, i.told(tasks)); err != nil {
			return err
		}
		if *format != "plain" || len(tasks) > 1 {
			return encode(i.stdout, strings.Replace(*format, "plain", "yaml", 1), i.results(tasks))
		}
		i.printOutput(tasks[0])
		if tasks[0].Code != 0 {
			return exitCode(max(tasks[0].Code, 1))
		}
		return i.verdict(tasks)
	}
}

func (i *invocation) followQuietly(ctx context.Context, tasks []*task) error {
	for _, t := range tasks {
		select {
		case <-t.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// told are the units that hear of what commands wrote into relations.
func (i *invocation) told(tasks []*task) []*unit {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	var units []*unit
	for _, t := range tasks {
		units = append(units, t.told...)
	}
	return units
}

func (i *invocation) printOutput(t *task) {
	stdout, _ := t.Results["stdout"].(string)
	stderr, _ := t.Results["stderr"].(string)
	io.WriteString(i.stdout, stdout)
	io.WriteString(i.stderr, stderr)
}

// targets are the names of the units that exec runs on.
func (i *invocation) targets(units, applications list, all bool) ([]string, error) {
	var names []string
	for _, flag := range units {
		names = append(names, strings.Split(flag, ",")...)
	}
	err := i.locked(func(m *model) error {
		wanted := strings.Split(strings.Join(applications, ","), ",")
		if all {
			wanted = slices.Sorted(maps.Keys(m.Applications))
		}
		for _, name := range wanted {
			if name == "" {
				continue
			}
			a, err := m.application(name)
			if err != nil {
				return err
			}
			for _, u := range a.sortedUnits() {
				names = append(names, u.Name)
			}
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = usagef("You must specify a target, either through --all, --application or --unit")
	}
	return names, err
}
