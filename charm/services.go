package charm

import (
	"context"

	"github-runner/charm/services"
	"github-runner/charm/unitdir"
)

// Services are the unit's own services, which work between hooks.
type Services interface {
	// Ensure makes the wanted ones run, and no others, and returns what it had
	// to mend, for a person.
	Ensure(ctx context.Context, want services.Want) (mended []string, err error)
	// Report tells how those are that were wanted last.
	Report(ctx context.Context) ([]services.Health, error)
	// Stop ends all of them and removes what they used; nil when that is gone.
	Stop(ctx context.Context) error
}

// ensureServices makes the unit's services run as the state in force wants them,
// and keeps what a person should know of them for the status. They work on what
// hooks do as well: without them everything takes longer, and nothing fails. The
// agent goes by what is written down: where that is not what is in force, it would
// undo what hooks do.
func (s *session) ensureServices(ctx context.Context) {
	if s.Services == nil || !s.inForce || s.Past.Stopping || ctx.Err() != nil {
		return
	}
	off := services.AgentIsOff(s.Root)
	own, err := s.Services(s.Dir)
	if err == nil {
		var mended []string
		mended, err = own.Ensure(ctx, services.Want{
			Agent: !off && (!s.ahead || s.Unwritten == nil),
			// It answers at the bridge of runners on this machine.
			Policy: !s.wanted.OnOpenStack(),
		})
		s.serviceNotes = mended
	}
	if err != nil {
		s.serviceNotes = append(s.serviceNotes, "the unit's services: "+oneLine(err.Error()))
	}
	for _, note := range s.serviceNotes {
		s.Log.Warn(note)
	}
	s.agentOff = off
}

// reportServices returns what a person should know of the services, where nothing
// is to be mended.
func (s *session) reportServices(ctx context.Context) []string {
	if s.Services == nil {
		return nil
	}
	own, err := s.Services(s.Dir)
	if err != nil {
		return []string{oneLine(err.Error())}
	}
	report, err := own.Report(ctx)
	var notes []string
	if err != nil {
		notes = append(notes, oneLine(err.Error()))
	}
	for _, health := range report {
		if !health.Healthy {
			notes = append(notes, health.String())
		}
	}
	return notes
}

// stopServices ends the unit's services. The agent may hold the unit, so this
// comes before who stops waits for it.
func (c *Charm) stopServices(ctx context.Context, dir *unitdir.Dir) error {
	if c.Services == nil {
		return nil
	}
	own, err := c.Services(dir)
	if err != nil {
		return err
	}
	return own.Stop(ctx)
}
