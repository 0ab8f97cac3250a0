package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Explanation is why there are as many runners as there are.
type Explanation struct {
	// Looked is false where the cloud could not be asked: Report is empty then.
	Looked bool
	Report Report
	// Away is why GitHub could not be asked about the wanted scope's runners, nil
	// if it could.
	Away error
	// Reasons are lines for a person: first how many there are, then what keeps
	// others from being there, then what else is there and is in nobody's way.
	Reasons []string
}

// Explain looks at the runners, and at what the next one would be made from. No
// runner is made or removed, and nothing is remembered.
func (m *Manager) Explain(ctx context.Context, want Want) Explanation {
	var found findings
	template := Template{BootDeadline: fallbackBootDeadline}
	if want.Count > 0 {
		prepared, err := m.cfg.Cloud.Prepare(ctx, want)
		if err == nil {
			template = prepared
		}
		found.hindrances = append(found.hindrances, err)
	}
	template.Want = want
	template.BootDeadline = cmp.Or(template.BootDeadline, fallbackBootDeadline)
	world, err := m.look(ctx, want.Scope, nil)
	if err != nil {
		return Explanation{Reasons: []string{"nothing can be seen of the runners, and none is made: " + flat(err.Error())}}
	}
	found.view, found.memory = observe(world, m.cfg.Owner, template, m.memory, m.cfg.Limits)
	away := found.view.Away[want.Scope]
	if want.Count > 0 && away == nil {
		found.hindrances = append(found.hindrances, m.cfg.GitHub.Ready(ctx, want.Scope, want.Group))
	}
	found.want, found.deadline = want, template.BootDeadline
	return Explanation{Looked: true, Report: found.view.Report(), Away: away, Reasons: found.reasons()}
}

// findings are all that an explanation follows from.
type findings struct {
	view   View
	memory Memory
	want   Want
	// deadline is how long a new runner may take to come online.
	deadline time.Duration
	// hindrances are why no runner could be made now; nil ones say nothing.
	hindrances []error
}

// reasons is pure.
func (f findings) reasons() []string {
	return slices.Concat([]string{f.balance()}, f.obstacles(), f.crew())
}

// balance says how many runners there are, and how many are missing.
func (f findings) balance() string {
	missing := f.want.Count - f.view.counted()
	there := fmt.Sprintf("%d wanted: %s", f.want.Count, f.view.crew())
	switch {
	case missing > 0:
		return fmt.Sprintf("%s; %d missing", there, missing)
	case missing < 0 && f.want.Count == 0:
		return there + "; what is there goes once it is free"
	case missing < 0:
		return fmt.Sprintf("%s; %d too many, which go once they are free", there, -missing)
	case f.view.Count(Unknown) > 0:
		return there + "; whether one is missing is not known"
	}
	return there + "; nothing is missing"
}

// obstacles are what keeps runners from being made.
func (f findings) obstacles() []string {
	missing := f.want.Count - f.view.counted()
	var lines []string
	if away := f.view.Away[f.want.Scope]; away != nil {
		lines = append(lines, f.silence(away))
	}
	for _, err := range f.hindrances {
		if err != nil {
			lines = append(lines, "no new runner can be made: "+flat(err.Error()))
		}
	}
	if missing <= 0 {
		return lines
	}
	for _, kind := range slices.Sorted(maps.Keys(f.memory.Setbacks)) {
		lines = append(lines, f.setback(f.memory.Setbacks[kind]))
	}
	if len(lines) == 0 {
		return []string{"nothing stands in the way of what is missing: the next reconcile starts it, the action reconcile-runners now"}
	}
	return lines
}

// silence says what it means that GitHub does not answer.
func (f findings) silence(away error) string {
	var limited RateLimited
	if errors.As(away, &limited) {
		return "GitHub's rate limit: it answers again at " + clock(f.view.Now, limited.Until) + "; no runner is made or removed until then"
	}
	since := ""
	if first, ok := f.memory.when(signSilent, f.want.Scope.String()); ok && first.Before(f.view.Now) {
		since = " since " + clock(f.view.Now, first)
	}
	return "GitHub does not tell of the runners" + since + ", so none is made or removed: " + flat(away.Error())
}

// setback says how creating waits after failures.
func (f findings) setback(s Setback) string {
	times := "once"
	if s.Count > 1 {
		times = fmt.Sprintf("%d times in a row", s.Count)
	}
	wait := "the next reconcile tries with one, and goes on if it does well"
	if s.Until.After(f.view.Now) {
		wait = "backing off until " + clock(f.view.Now, s.Until) + ", unless the action reconcile-runners is run"
	}
	return fmt.Sprintf("getting a runner failed %s: %s; %s", times, flat(s.Reason), wait)
}

// remark is what is to be said of all runners of a verdict.
type remark struct {
	verdict Verdict
	// since is when a runner became so; the zero time where that is not known.
	since func(Info) time.Time
	text  string
}

func (f findings) remarks() []remark {
	unknown := func(Info) time.Time { return time.Time{} }
	created := func(r Info) time.Time { return r.Created }
	seen := func(r Info) time.Time { return r.Since }
	return []remark{
		{Starting, created, fmt.Sprintf("has to be online within %.0f minutes of that", f.deadline.Minutes())},
		{Unknown, unknown, "can't be judged while GitHub does not tell of it; it counts, so none is made in its place"},
		{Lost, unknown, "never came online, or went away; it does not count, and is removed"},
		{Dead, unknown, "has a machine that has stopped; it does not count, and is removed"},
		{Finishing, seen, "has no registration any more, and is at the end of its job; it does not count, and is in nobody's way"},
		{Deleting, seen, "is being deleted; it does not count, and is in nobody's way"},
		{Foreign, unknown, "has the name of a runner of this unit and is not one; it is left alone"},
		{Orphan, seen, "is still registered without a machine; that is tried again, and is in nobody's way"},
	}
}

// crew says of each kind of runners what it means for the number of free ones.
func (f findings) crew() []string {
	var lines []string
	busy, idle := f.view.Count(Busy), f.view.Count(Idle)
	switch {
	case busy > 0 && idle == 0 && f.want.Count == 0:
		lines = append(lines, "no runner is free, and none is wanted: the next job waits until some are")
	case busy > 0 && idle == 0:
		lines = append(lines, "no runner is free: the next job waits until one has ended, or for more by the option virtual-machines")
	}
	outdated := 0
	for _, r := range f.view.Runners {
		if r.Verdict == Idle && r.Outdated {
			outdated++
		}
	}
	switch {
	case outdated == 1:
		lines = append(lines, "outdated: 1 runner that is idle is replaced")
	case outdated > 1:
		lines = append(lines, fmt.Sprintf("outdated: %d runners that are idle are replaced, a few at a time", outdated))
	}
	for _, remark := range f.remarks() {
		if line := f.apply(remark); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// apply makes one line for all runners that a remark is about; "" where there are
// none.
func (f findings) apply(remark remark) string {
	var names []string
	for _, r := range slices.Concat(f.view.Runners, f.view.Orphans) {
		if r.Verdict != remark.verdict {
			continue
		}
		name := r.Name
		if since := remark.since(r); !since.IsZero() {
			name += " since " + clock(f.view.Now, since)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	each := "it "
	if len(names) > 1 {
		each = "each "
	}
	return fmt.Sprintf("%s: %s: %s%s", remark.verdict, list(names), each, remark.text)
}

// clock writes a time of about today for a person, and others with their date.
func clock(now, t time.Time) string {
	if age := now.Sub(t).Abs(); age > 12*time.Hour {
		return t.UTC().Format("2006-01-02 15:04 MST")
	}
	return t.UTC().Format("15:04:05 MST")
}

// flat writes a text of several lines as one.
func flat(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}
