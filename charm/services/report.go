package services

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/canonical/pebble/client"
)

// lastLines is how many lines of a service's output a report has.
const lastLines = 3

// Health is how a service that is wanted is.
type Health struct {
	Name string
	// Running is false for one that ended and waits for its next start.
	Running bool
	// Healthy is false for one that does not run, or did not answer its health
	// check three times in a row.
	Healthy bool
	// Since is when it began to run, or not to.
	Since time.Time
	// Last are the last lines that it wrote, where it is not healthy.
	Last []string
}

// String says in one line what is wrong with it; it is empty for a healthy one.
func (h Health) String() string {
	switch {
	case h.Healthy:
		return ""
	case h.Running:
		return "the " + title(h.Name) + " does not answer"
	}
	return quoting("the "+title(h.Name)+" does not run", h.Last)
}

// quoting adds the last of some lines to a text.
func quoting(text string, lines []string) string {
	if len(lines) == 0 {
		return text
	}
	return text + ": " + lines[len(lines)-1]
}

// Report returns how each service is that was wanted last. Without a daemon, or
// with one that does not answer, it is an error.
func (u *Unit) Report(ctx context.Context) ([]Health, error) {
	ctx, cancel := context.WithTimeout(ctx, reportDeadline)
	defer cancel()
	if err := u.answers(ctx); err != nil {
		return nil, fmt.Errorf("the unit's services do not run, the next hook starts them: cannot ask Pebble: %w", err)
	}
	c, err := u.connect(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := c.Services(&client.ServicesOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot ask Pebble about the services: %w", err)
	}
	seen, err := u.look(c)
	if err != nil {
		return nil, err
	}
	var all []Health
	for _, info := range infos {
		if info.Startup != client.StartupEnabled {
			continue
		}
		h := Health{Name: info.Name, Running: info.Current == client.StatusActive, Since: info.CurrentSince}
		h.Healthy = h.Running && !seen[info.Name].down
		if !h.Healthy {
			h.Last, err = lastWords(c, info.Name)
		}
		all = append(all, h)
	}
	return all, err
}

// lastWords are the last lines that a service wrote.
func lastWords(c *client.Client, name string) ([]string, error) {
	var lines []string
	err := c.Logs(&client.LogsOptions{
		Services: []string{name},
		N:        lastLines,
		WriteLog: func(entry client.LogEntry) error {
			lines = append(lines, entry.Message)
			return nil
		},
	})
	if err != nil {
		return lines, fmt.Errorf("cannot read what the %s wrote last: %w", title(name), err)
	}
	return lines, nil
}

// Stop ends the unit's services and its daemon, and removes all that Ensure made;
// nil when it is gone. Called without a hold on the unit it ends an agent that
// has one.
func (u *Unit) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, StopDeadline)
	defer cancel()
	if err := errors.Join(u.supervisor.forget(ctx), u.supervisor.stop(ctx)); err != nil {
		return fmt.Errorf("cannot end the unit's services: %w", err)
	}
	_, running, err := u.processes()
	if err == nil {
		err = u.endStrays(ctx, running, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot end the unit's services: %w", err)
	}
	return u.removeHome()
}
