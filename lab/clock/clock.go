// Package clock lets time pass in the lab.
package clock

import (
	"context"
	"time"
)

// Pause returns nil after a time, or ctx's error.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
