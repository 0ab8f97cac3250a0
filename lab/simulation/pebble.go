package simulation

import (
	"context"
	"sync"
	"time"

	"github-runner/charm"
	"github-runner/charm/services"
	"github-runner/charm/unitdir"
)

const (
	// firstRestart and maxRestart are Pebble's times before it starts the agent
	// again; they double. After maxRestart without an end the first is the next.
	firstRestart = time.Second
	maxRestart   = 10 * time.Minute
	// killDelay is how long Pebble waits before it kills what it asked to end.
	killDelay = 10 * time.Second
)

// pebble supervises the unit's agent, as the unit's Pebble daemon does.
type pebble struct {
	unit *unit

	mu sync.Mutex
	// up is set while the daemon runs, wanted while the agent is to run.
	up, wanted bool
	agent      *resident // nil: none runs
	restart    *time.Timer
	pause      time.Duration // before the restart that is due or was last
}

// ensure makes the agent run, or not, as a hook wants it, and returns what it
// mended.
func (p *pebble) ensure(want bool) []string {
	p.mu.Lock()
	running, stray := p.agent, !p.up
	ended := p.restart != nil
	outdated := running != nil && running.build != p.unit.program()
	p.mu.Unlock()
	if running != nil && (stray || outdated || !want) {
		p.forget()
		running.terminate()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.wanted = true, want
	switch {
	case !want:
		p.stopTimer()
	case p.agent == nil:
		p.stopTimer()
		p.pause = 0
		p.start()
	}
	if want && ended {
		return []string{"the resident agent had ended and was started again"}
	}
	return nil
}

// forget lets an agent end without another in its place.
func (p *pebble) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
	p.stopTimer()
}

// stop ends the daemon and the agent.
func (p *pebble) stop() {
	p.forget()
	p.mu.Lock()
	running := p.agent
	p.up = false
	p.mu.Unlock()
	if running != nil {
		running.terminate()
	}
}

// die is SIGKILL for the daemon. Its agent lives on.
func (p *pebble) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = false
	p.stopTimer()
}

// powerOff ends everything at once.
func (p *pebble) powerOff() {
	p.mu.Lock()
	running := p.agent
	p.up = false
	p.stopTimer()
	p.mu.Unlock()
	if running != nil {
		running.process.die("at once")
		<-running.done
	}
}

// boot is systemd's start of the daemon, where there was one.
func (p *pebble) boot() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = p.wanted
	if p.wanted && p.agent == nil {
		p.start()
	}
}

// running is the agent that runs; nil where none does.
func (p *pebble) running() *resident {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agent
}

// start starts the agent; the lock is held.
func (p *pebble) start() {
	p.agent = p.unit.keepRunners(p.ended)
}

// ended is told of the agent's end.
func (p *pebble) ended(r *resident) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.agent == r {
		p.agent = nil
	}
	if !p.up || !p.wanted || p.agent != nil {
		return
	}
	p.pause = min(2*p.pause, maxRestart)
	if p.pause == 0 || time.Since(r.began) >= maxRestart {
		p.pause = firstRestart
	}
	p.restart = time.AfterFunc(p.pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.restart == nil {
			return // a hook was faster
		}
		p.restart = nil
		if p.up && p.wanted && p.agent == nil {
			p.start()
		}
	})
}

// stopTimer calls a restart off; the lock is held.
func (p *pebble) stopTimer() {
	if p.restart != nil {
		p.restart.Stop()
		p.restart = nil
	}
}

// supervision is a call's way to Pebble.
type supervision struct {
	pebble  *pebble
	process *process
}

// Ensure implements charm.Services.
func (s supervision) Ensure(_ context.Context, want services.Want) (mended []string, err error) {
	err = s.process.effect("Pebble ensure", func() error {
		mended = s.pebble.ensure(want.Agent)
		return nil
	})
	return mended, err
}

// Report implements charm.Services.
func (s supervision) Report(context.Context) (report []services.Health, err error) {
	err = s.process.look(func() error {
		if s.pebble.wants() {
			running := s.pebble.running() != nil
			report = []services.Health{{Name: services.Agent, Running: running, Healthy: running}}
		}
		return nil
	})
	return report, err
}

func (p *pebble) wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// Stop implements charm.Services.
func (s supervision) Stop(context.Context) error {
	return s.process.effect("Pebble stop", func() error {
		s.pebble.stop()
		return nil
	})
}

// supervise returns a call's way to Pebble.
func (u *unit) supervise(p *process) func(*unitdir.Dir) (charm.Services, error) {
	return func(*unitdir.Dir) (charm.Services, error) {
		return supervision{pebble: u.pebble, process: p}, nil
	}
}
