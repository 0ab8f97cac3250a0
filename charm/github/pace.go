package github

import (
	"context"
	"sync"
	"time"
)

const (
	// registrations is how many of them GitHub takes within registrationSpan before its
	// secondary rate limit refuses more: 900 points a minute, 5 for each call that
	// writes, of which some are left for deregistrations.
	registrations    = 166
	registrationSpan = time.Minute
)

// pace lets so many calls begin within a span, and the others wait. The zero value is
// that of registrations.
type pace struct {
	mu sync.Mutex
	// begun are the times of the last calls, oldest first, at most registrations.
	begun []time.Time
}

// take waits until another call may begin, or ctx ends.
func (p *pace) take(ctx context.Context) error {
	for {
		wait := p.tryTake(time.Now())
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// tryTake lets a call begin now, or says how long it is until one may.
func (p *pace) tryTake(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.begun) == registrations {
		if wait := registrationSpan - now.Sub(p.begun[0]); wait > 0 {
			return wait
		}
		p.begun = p.begun[1:]
	}
	p.begun = append(p.begun, now)
	return 0
}
