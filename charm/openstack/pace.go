package openstack

import (
	"context"
	"time"
)

// How often something is looked at that somebody waits for.
const (
	firstPause = time.Second
	mostPause  = 10 * time.Second
)

// pace is how long to wait for the next look: the longer it takes the longer.
type pace struct {
	next time.Duration
}

func newPace() pace {
	return pace{next: firstPause}
}

// wait returns nil when it is time for the next look, or why there is to be none.
func (p *pace) wait(ctx context.Context) error {
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next = min(2*p.next, mostPause)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
