package agent

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

// watcher is a cloud that tells of changes; see runner.Cloud.
type watcher interface {
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// firstPatience is how long a cloud has to answer while somebody waits.
const firstPatience = time.Second / 2

// The times between tries to watch a cloud that does not let itself be watched. What
// can be watched is near, and a try costs it next to nothing.
const (
	firstRewatch = time.Second
	maxRewatch   = 10 * time.Second
)

// signals are what a cloud tells of; the zero value is of one that tells of nothing.
type signals struct {
	// changed: something may have.
	changed <-chan struct{}
	// back: it had hung up or did not answer, and does again.
	back <-chan struct{}
}

// watch tells of changes until ctx ends, however often the cloud hangs up: what
// may have happened meanwhile is a change, too. A cloud that takes its time is not
// waited for once wanted is closed, because somebody waits for the unit.
func watch(ctx context.Context, cloud watcher, wanted <-chan struct{}, log *logrus.Entry) signals {
	first, cancel := context.WithCancel(ctx)
	answered := make(chan struct{})
	go func() {
		select {
		case <-answered:
		case <-wanted:
			if !pauseUnless(answered, firstPatience) {
				cancel()
			}
		}
	}()
	events, err := cloud.Watch(first)
	close(answered)
	if err == nil && events == nil {
		cancel()
		return signals{}
	}
	changed, back := make(chan struct{}, 1), make(chan struct{}, 1)
	go func() {
		defer cancel()
		wait := firstRewatch
		for tries := 1; ctx.Err() == nil; tries++ {
			if err == nil {
				wait = firstRewatch
				if tries > 1 {
					notify(back)
				}
				notify(changed)
				for range events {
					notify(changed)
				}
			}
			if err != nil {
				log.WithError(err).WithField("again", wait).Debug("the cloud's events can't be had")
			}
			if !pause(ctx, wait) {
				return
			}
			wait = min(2*wait, maxRewatch)
			events, err = cloud.Watch(ctx)
		}
	}()
	return signals{changed: changed, back: back}
}

// pauseUnless waits for a time, and reports whether it was cut short because done
// was closed.
func pauseUnless(done <-chan struct{}, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// notify sends without waiting: one pending message says it all.
func notify(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
