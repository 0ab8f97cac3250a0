package takeover

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"time"

	"github-runner/charm/runner"
)

// Instance is one of the Python charm's.
type Instance struct {
	Name    string
	Running bool
}

// formerName is the name that the Python charm gave to instances.
var formerName = regexp.MustCompile(`^([a-z][a-z0-9-]*-[0-9]+)-[0-9a-f]{24}$`)

// IsName reports whether a name has the shape of those that the Python charm
// gave, for whatever unit.
func IsName(name string) bool {
	return formerName.MatchString(name)
}

// owns reports whether a name is that of a runner of the unit.
func owns(unit, name string) bool {
	match := formerName.FindStringSubmatch(name)
	return match != nil && match[1] == strings.ReplaceAll(unit, "/", "-")
}

// verdict is what one of the Python charm's runners is judged to be.
type verdict string

const (
	// free: registered, and not said to be busy. Only GitHub's answer to a
	// deregistration tells for sure.
	free verdict = "free"
	// busy: registered, and at a job.
	busy verdict = "busy"
	// leaving: not registered any more. It may be at the end of a job.
	leaving verdict = "leaving"
	// ended: it does not run.
	ended verdict = "ended"
	// unknown: GitHub does not tell, or nothing can be seen of it.
	unknown verdict = "unknown"
)

// former is one runner of the unit, judged.
type former struct {
	name    string
	verdict verdict
	// scope and id are those of its registration, if it has one.
	scope runner.Scope
	id    int64
	// since is when it was first seen leaving, working what can be seen of it
	// since then.
	since   time.Time
	working runner.Working
}

// look finds and judges the unit's runners: the instances first, then the
// registrations, which were made before them and go before them.
//
// A registration without an instance on this machine is left alone: a unit of the
// same name in another model gave the same names. GitHub removes it within a day.
func (t *Takeover) look(ctx context.Context) ([]former, error) {
	instances, err := t.cfg.Machines.FormerInstances(ctx)
	if err != nil {
		return nil, err
	}
	var mine []Instance
	names := map[string]bool{}
	for _, instance := range instances {
		if owns(t.cfg.Unit, instance.Name) {
			mine = append(mine, instance)
			names[instance.Name] = true
		}
	}
	maps.DeleteFunc(t.memory.Leaving, func(name string, _ time.Time) bool { return !names[name] })
	if len(mine) == 0 {
		return nil, nil
	}
	t.memory.Found = true
	registered, complete := t.registrations(ctx)
	found := make([]former, 0, len(mine))
	for _, instance := range mine {
		found = append(found, t.judge(ctx, instance, registered[instance.Name], complete))
	}
	return found, nil
}

// registrations returns those of the unit's former runners by name, and whether
// they are all.
func (t *Takeover) registrations(ctx context.Context) (map[string]runner.Registration, bool) {
	scopes := []runner.Scope{t.cfg.Scope}
	if place := t.former(); place != t.cfg.Scope {
		scopes = append(scopes, place)
	}
	prefix := strings.ReplaceAll(t.cfg.Unit, "/", "-") + "-"
	byName, complete := map[string]runner.Registration{}, true
	for _, scope := range scopes {
		list, err := t.cfg.GitHub.Runners(ctx, scope, prefix)
		if err != nil {
			t.cfg.Log.WithError(err).Warn("which of the previous charm's runners are busy can't be seen")
			complete = false
		}
		for _, registration := range list {
			byName[registration.Name] = registration
		}
	}
	return byName, complete
}

// former is where the Python charm registered its runners.
func (t *Takeover) former() runner.Scope {
	if t.memory.Path == "" {
		return t.cfg.Scope
	}
	return runner.Scope{API: t.cfg.Scope.API, Path: t.memory.Path}
}

func (t *Takeover) judge(ctx context.Context, instance Instance, registration runner.Registration, complete bool) former {
	f := former{name: instance.Name, scope: registration.Scope, id: registration.ID}
	switch {
	case !instance.Running:
		f.verdict = ended
	case registration.Busy:
		f.verdict = busy
	case registration.ID != 0:
		f.verdict = free
	case !complete:
		f.verdict = unknown
	default:
		f.verdict = leaving
		f.since = t.memory.leaves(instance.Name, time.Now())
		f.working = t.working(ctx, instance.Name)
		if f.working == runner.WorkingUnknown {
			f.verdict = unknown
		}
	}
	return f
}

// working asks an instance whose registration is gone. One that can't answer may
// be at the end of a job.
func (t *Takeover) working(ctx context.Context, name string) runner.Working {
	working, err := t.cfg.Machines.FormerWorking(ctx, name)
	if err != nil {
		t.cfg.Log.WithError(err).WithField("runner", name).Warn("whether the previous charm's runner still works can't be seen: it is left alone until it ends")
		return runner.WorkingUnknown
	}
	return working
}
