package flock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	path := t.TempDir()
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

	next := takeAside(t, path)
	release()
	if err := <-next; err != nil {
		t.Errorf("Take after the release: %v", err)
	}
}

// takeAside takes the lock and lets it go; it returns once it has to wait.
func takeAside(t *testing.T, path string) <-chan error {
	waiting := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		release, err := Take(t.Context(), path, func() { close(waiting) })
		if err == nil {
			release()
		}
		result <- err
	}()
	<-waiting
	return result
}

func TestTakeWhatWasRemovedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	release, err := Take(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	next := takeAside(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-next; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Take of what was removed: %v, want os.ErrNotExist", err)
	}
}

func TestTakeWhatWasReplacedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	release, err := Take(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	taken := make(chan func(), 1)
	go func() {
		again, err := Take(t.Context(), path, func() { close(waiting) })
		if err != nil {
			t.Error(err)
		}
		taken <- again
	}()
	<-waiting
	// Not removed first: the new one might get the old one's number.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	release()
	again := <-taken
	if again == nil {
		return
	}
	defer again()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Take(ctx, path, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the new directory is not locked: %v", err)
	}
}

func TestTakeWithoutAPlace(t *testing.T) {
	if _, err := Take(t.Context(), filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Take of what is missing: %v, want os.ErrNotExist", err)
	}
}
