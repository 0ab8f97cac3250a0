package runner

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A step that waits for another's question to GitHub can be called off.
func TestSync1WaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		find := sync1(func(context.Context) (int, error) {
			asked++
			time.Sleep(time.Minute) // of the bubble's fake clock
			return asked, nil
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if got, err := find(t.Context()); got != 1 || err != nil {
				t.Errorf("the first has %d, %v", got, err)
			}
		}()
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := find(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits has %v", err)
		}
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("it waited for %v", waited)
		}
		<-ended
		if got, err := find(t.Context()); got != 1 || err != nil || asked != 1 {
			t.Errorf("after %d questions, %d, %v", asked, got, err)
		}
	})
}
