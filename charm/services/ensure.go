package services

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/canonical/pebble/client"
)

// Ensure makes the unit's wanted services run, and no others: it starts the
// daemon, or another in the place of one that was started from another build or
// does not answer; it starts what has ended, and starts again what runs from
// another build or in another environment, or does not answer its health check.
// It waits for what it ends, not for what it starts.
//
// It returns what it had to mend, for a person. It can be called any number of
// times, by whoever holds the unit: nothing here waits for the unit's lock.
func (u *Unit) Ensure(ctx context.Context, want Want) (mended []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, EnsureDeadline)
	defer cancel()
	data, err := u.layer(want)
	if err != nil {
		return nil, err
	}
	if err := u.makeHome(); err != nil {
		return nil, err
	}
	if err := u.writeLayer(data); err != nil {
		return nil, err
	}
	runs, note, err := u.keepDaemon(ctx)
	if err != nil {
		return nil, err
	}
	if runs {
		mended, err := u.adjust(ctx, want, data)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("cannot look after the unit's services: Pebble stopped answering, the next hook replaces it: %w", err)
		}
		return mended, err
	}
	// It starts what its layer says.
	if err := u.supervisor.start(ctx); err != nil {
		return nil, fmt.Errorf("cannot start Pebble, which runs the unit's services: %w", err)
	}
	if note == "" {
		return nil, nil
	}
	return []string{"Pebble, which runs the unit's services, " + note + " and was started again"}, nil
}

// keepDaemon reports whether a daemon of this build runs and answers. One that is
// not fit is ended, and so are services that no daemon watches any more. The note
// says what was wrong with it, if anything was.
func (u *Unit) keepDaemon(ctx context.Context) (runs bool, note string, err error) {
	daemons, running, err := u.processes()
	if err != nil {
		return false, "", err
	}
	if len(daemons) == 0 && u.leftSocket() {
		note = "had ended"
	}
	if len(daemons) == 1 && daemons[0].current {
		why := u.answers(ctx)
		if why == nil {
			return true, "", errors.Join(u.endStrays(ctx, running, daemons[0].pid), u.supervisor.tidy())
		}
		u.log.WithError(why).Warnf("Pebble (process %d) does not answer", daemons[0].pid)
		note = "did not answer"
		if err := u.end(ctx, daemons[0], stuckPatience); err != nil {
			return false, "", err
		}
	}
	if err := u.supervisor.stop(ctx); err != nil {
		return false, "", fmt.Errorf("cannot end Pebble: %w", err)
	}
	// What it ended by then is passed over.
	return false, note, u.endStrays(ctx, running, 0)
}

// endStrays ends services whose daemon is another than the given one. They would
// be in the way of its own.
func (u *Unit) endStrays(ctx context.Context, running []process, daemon int) error {
	var failures []error
	for _, p := range running {
		if p.parent != daemon {
			failures = append(failures, u.end(ctx, p, killDelay))
		}
	}
	return errors.Join(failures...)
}

// adjust brings the services of a running daemon to what is wanted.
func (u *Unit) adjust(ctx context.Context, want Want, layer []byte) (mended []string, err error) {
	c, err := u.connect(ctx)
	if err != nil {
		return nil, err
	}
	// Not followed by a replan: that starts a service again that was switched
	// off, because its configuration is another.
	if err := c.AddLayer(&client.AddLayerOptions{Combine: true, Label: layerLabel, LayerData: layer}); err != nil {
		return nil, fmt.Errorf("cannot tell Pebble what to run: %w", err)
	}
	seen, err := u.look(c)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, step := range plan(want, seen) {
		if step.verb == start && step.note != "" {
			lines, err := lastWords(c, step.name)
			failures = append(failures, err)
			step.note = quoting(step.note, lines)
		}
		if err := u.take(c, step); err != nil {
			failures = append(failures, err)
			continue
		}
		if step.note != "" {
			mended = append(mended, step.note)
		}
	}
	return mended, errors.Join(failures...)
}

// sight is what there is of a service.
type sight struct {
	status client.ServiceStatus
	// down is set when its check failed too often.
	down bool
	// outdated is set when a process of it runs that is not current.
	outdated bool
}

// look finds out how the services are.
func (u *Unit) look(c *client.Client) (map[string]sight, error) {
	infos, err := c.Services(&client.ServicesOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot ask Pebble about the services: %w", err)
	}
	checks, err := c.Checks(&client.ChecksOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot ask Pebble about the services' health: %w", err)
	}
	_, running, err := u.processes()
	if err != nil {
		return nil, err
	}
	seen := map[string]sight{}
	since := map[string]time.Time{}
	for _, info := range infos {
		seen[info.Name] = sight{status: info.Current}
		since[info.Name] = info.CurrentSince
	}
	for _, check := range checks {
		s := seen[check.Name]
		s.down = check.Status == client.CheckStatusDown && wasAsked(check.Name, time.Since(since[check.Name]))
		seen[check.Name] = s
	}
	for _, p := range running {
		s := seen[p.service]
		s.outdated = s.outdated || !p.current
		seen[p.service] = s
	}
	return seen, nil
}

// verb is what Pebble is told about a service.
type verb string

const (
	start   verb = "start"
	restart verb = "restart"
	stop    verb = "stop"
)

// step is something to do about a service, and what is said about it.
type step struct {
	verb verb
	name string
	note string
}

// plan decides what to do.
func plan(want Want, seen map[string]sight) []step {
	var steps []step
	for _, s := range all() {
		is := seen[s.name]
		ended := is.status == client.StatusBackoff || is.status == client.StatusError
		active := is.status == client.StatusActive
		switch wanted := want.includes(s.name); {
		case !wanted && (active || ended):
			steps = append(steps, step{verb: stop, name: s.name})
		case !wanted:
		case ended:
			steps = append(steps, step{verb: start, name: s.name, note: "the " + s.title + " had ended and was started again"})
		case !active:
			steps = append(steps, step{verb: start, name: s.name})
		case is.outdated:
			steps = append(steps, step{verb: restart, name: s.name})
		case is.down:
			steps = append(steps, step{verb: restart, name: s.name, note: "the " + s.title + " did not answer and was started again"})
		}
	}
	return steps
}

// take takes a step. The end of a service is waited for: who switched it off
// relies on it.
func (u *Unit) take(c *client.Client, s step) error {
	u.log.WithField("service", s.name).Debugf("Pebble is to %s it", s.verb)
	act := map[verb]func(*client.ServiceOptions) (string, error){start: c.Start, restart: c.Restart, stop: c.Stop}[s.verb]
	change, err := act(&client.ServiceOptions{Names: []string{s.name}})
	if err == nil && s.verb == stop {
		err = finish(c, change)
	}
	if err != nil {
		return fmt.Errorf("cannot %s the %s: %w", s.verb, title(s.name), err)
	}
	return nil
}

// finish waits until Pebble has done what it was told.
func finish(c *client.Client, change string) error {
	done, err := c.WaitChange(change, &client.WaitChangeOptions{Timeout: daemonPatience})
	if err != nil {
		return err
	}
	if done.Err != "" {
		return errors.New(done.Err)
	}
	return nil
}
