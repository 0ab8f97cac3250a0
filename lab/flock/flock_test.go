package flock

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	for name, path := range map[string]string{
		"directory":    t.TempDir(),
		"missing file": filepath.Join(t.TempDir(), "lock"),
	} {
		t.Run(name, func(t *testing.T) {
			release, err := Take(t.Context(), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			waited := false
			if _, err := Take(ctx, path, func() { waited = true }); !errors.Is(err, context.DeadlineExceeded) || !waited {
				t.Errorf("a second Take: error %v, waiting was called: %t", err, waited)
			}

			next := make(chan error, 1)
			go func() {
				release, err := Take(t.Context(), path, nil)
				if err == nil {
					release()
				}
				next <- err
			}()
			release()
			if err := <-next; err != nil {
				t.Errorf("Take after the release: %v", err)
			}
		})
	}
}

func TestTakeWithoutAPlace(t *testing.T) {
	if _, err := Take(t.Context(), filepath.Join(t.TempDir(), "none", "lock"), nil); err == nil {
		t.Error("a lock in a folder that is missing is taken")
	}
}
