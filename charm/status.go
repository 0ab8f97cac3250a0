package charm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/state"
)

// appearance is a status with its message.
type appearance struct {
	status  juju.Status
	message string
}

// heldBy is how a configuration shows that is not applied: blocked, unless all
// that is wrong may be gone at the next hook.
func heldBy(problems state.Problems) appearance {
	if problems.Pass() {
		return appearance{juju.Waiting, problems.Error()}
	}
	return appearance{juju.Blocked, problems.Error()}
}

// show sets the unit's status.
func (s *session) show(ctx context.Context, look appearance) error {
	return s.Operator.SetStatus(ctx, look.status, look.message)
}

// progress returns a function that shows what is being done. A progress that
// can't be shown is no reason to stop.
func (s *session) progress(ctx context.Context) func(string) {
	var last string
	return func(text string) {
		if text == last {
			return
		}
		last = text
		if err := s.show(ctx, appearance{juju.Maintenance, text}); err != nil {
			s.Log.WithError(err).Debug("progress could not be shown")
		}
	}
}

// passing are the kinds of trouble that go away without anybody's doing, even
// where somebody can hasten that.
func passing(err error) bool {
	for _, kind := range []error{runner.ErrUnauthorized, runner.ErrForbidden, runner.ErrNotFound, runner.ErrInvalid} {
		if errors.Is(err, kind) {
			return false
		}
	}
	for _, kind := range []error{runner.ErrUnreachable, runner.ErrQuota, runner.ErrFailedStart, runner.ErrBackingOff, runner.ErrPending} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// statusOf says how a reconcile went: blocked where a person must act, waiting
// where time will do.
func statusOf(result runner.Result, err error) appearance {
	online := result.View.Count(runner.Idle, runner.Busy)
	if starting := result.View.Count(runner.Starting); err == nil && online == 0 && starting > 0 {
		// The hook could not wait as long as they may take.
		return appearance{juju.Maintenance, fmt.Sprintf("starting runners %d/%d", online, result.Wanted)}
	}
	if err == nil {
		return steady(result)
	}
	var limited runner.RateLimited
	if errors.As(err, &limited) {
		until := limited.Until.UTC().Format("15:04:05 MST")
		return appearance{juju.Waiting, limited.By + " answers again at " + until + ": rate limit" + crew(result)}
	}
	look := appearance{juju.Waiting, err.Error()}
	var advised runner.Trouble
	if errors.As(err, &advised) {
		look.message = advised.Error()
		if !passing(advised) {
			look.status = juju.Blocked
		}
	}
	return appearance{look.status, oneLine(look.message) + retry(result) + crew(result)}
}

// retry says when creating goes on, where it waits.
func retry(result runner.Result) string {
	if result.Held.Count == 0 {
		return ""
	}
	return "; next try after " + result.Held.Until.UTC().Format("15:04:05 MST")
}

// crew says who works on meanwhile.
func crew(result runner.Result) string {
	if len(result.View.Runners) == 0 {
		return ""
	}
	return " (" + steady(result).message + ")"
}

// census counts the runners of a view by what they are doing, in words, and those
// among them that count towards the wanted number.
func census(view runner.View) (counted int, shown []string) {
	parts := []struct {
		word     string
		verdicts []runner.Verdict
	}{
		{"idle", []runner.Verdict{runner.Idle}},
		{"busy", []runner.Verdict{runner.Busy}},
		{"starting", []runner.Verdict{runner.Starting}},
		{"unknown", []runner.Verdict{runner.Unknown}},
		{"finishing", []runner.Verdict{runner.Finishing, runner.Lost, runner.Dead}},
		{"deleting", []runner.Verdict{runner.Deleting}},
	}
	for _, part := range parts {
		n := view.Count(part.verdicts...)
		if n == 0 {
			continue
		}
		shown = append(shown, fmt.Sprintf("%d %s", n, part.word))
		if part.verdicts[0].Counts() {
			counted += n
		}
	}
	return counted, shown
}

// steady is the status of a unit that has what it wants.
func steady(result runner.Result) appearance {
	counted, shown := census(result.View)
	message := fmt.Sprintf("%d runners", counted)
	if counted == 1 {
		message = "1 runner"
	}
	if counted < result.Wanted {
		message = fmt.Sprintf("%d of %d runners", counted, result.Wanted)
	}
	if len(shown) > 0 {
		message += ": " + strings.Join(shown, ", ")
	}
	return appearance{juju.Active, message}
}

// oneLine makes a status message of joined errors. What could not be reached is
// said once, whatever was wanted of it.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	seen := map[string]bool{}
	var kept []string
	for _, line := range lines {
		cause := line
		if at := strings.LastIndex(line, ": dial "); at >= 0 {
			cause = line[at:]
		}
		if !seen[cause] {
			seen[cause] = true
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}
