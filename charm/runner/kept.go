package runner

import (
	"context"
	"maps"
	"time"
)

// kept is what a manager keeps between two calls of Tend.
type kept struct {
	template    Template
	want        Want
	prepared    time.Time
	application Application
	found       time.Time
	// tried are the last steps, by what they do to whom.
	tried map[string]attempt
}

// triedLately is what was tried so lately that it is not tried again: a try that
// fails is an event of the cloud's as well, and would bring on the next.
func (m *Manager) triedLately() map[string]attempt {
	if m.kept.tried == nil {
		m.kept.tried = map[string]attempt{}
	}
	maps.DeleteFunc(m.kept.tried, func(_ string, last attempt) bool { return time.Since(last.at) >= m.cfg.Limits.Retry })
	return m.kept.tried
}

// keepApplication is how long a runner application that was found is offered: a
// call of GitHub less between a job's end and the next runner.
const keepApplication = time.Hour

func (m *Manager) keptApplication(find func(context.Context) (Application, error)) func(context.Context) (Application, error) {
	return func(ctx context.Context) (Application, error) {
		var known Application
		m.note(func() {
			if time.Since(m.kept.found) < keepApplication {
				known = m.kept.application
			}
		})
		if known != (Application{}) {
			return known, nil
		}
		found, err := find(ctx)
		if err == nil {
			m.note(func() { m.kept.application, m.kept.found = found, time.Now() })
		}
		return found, err
	}
}
