package lab

import (
	"context"
	"fmt"
	"time"

	"github-runner/lab/flock"
)

// RestartLXD ends the lab's own LXD daemon, without its containers, and starts
// it again after a time. It returns when the daemon answers.
func (l *Lab) RestartLXD(ctx context.Context, down time.Duration) error {
	if l.Cloud != CloudLXD {
		return fmt.Errorf("cannot restart LXD: this lab's cloud is %s", l.Cloud)
	}
	release, err := flock.Take(ctx, l.Dir, nil)
	if err != nil {
		return fmt.Errorf("cannot restart LXD: %w", err)
	}
	defer release()
	for _, daemon := range l.running("lxd") {
		if err := daemon.stop(ctx); err != nil {
			return fmt.Errorf("cannot restart LXD: %w", err)
		}
	}
	timer := time.NewTimer(down)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	// Also after an interruption: a lab without its daemon is of no use.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*readyTimeout)
	defer cancel()
	return l.spawnLXD(ctx)
}
