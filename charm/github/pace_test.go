package github

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// However many runners are wanted, no minute has more registrations than GitHub takes.
func TestPaceOfRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 3*registrations + 10
		began := time.Now()
		var p pace
		var mu sync.Mutex
		var times []time.Time
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if err := p.take(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Now())
			})
		}
		all.Wait()
		for i := registrations; i < len(times); i++ {
			if span := times[i].Sub(times[i-registrations]); span < registrationSpan {
				t.Fatalf("%d registrations within %v", registrations+1, span)
			}
		}
		if took := time.Since(began); took != 3*registrationSpan {
			t.Errorf("%d registrations took %v, want %v", calls, took, 3*registrationSpan)
		}
	})
}

func TestPaceEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		for range registrations {
			if err := p.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("take: %v", err)
		}
	})
}
