package unitdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLockPathIsHandedOver(t *testing.T) {
	folder := t.TempDir()
	first, err := LockPath(t.Context(), folder, func() { t.Error("the first had to wait") })
	must(t, err)
	if unlock, ok, err := TryLockPath(folder); ok || unlock != nil || err != nil {
		t.Fatalf("a second lock at once: %t, %v", ok, err)
	}
	waiting, second := make(chan struct{}), make(chan func())
	go func() {
		unlock, err := LockPath(t.Context(), folder, func() { close(waiting) })
		if err != nil {
			t.Error(err)
		}
		second <- unlock
	}()
	<-waiting
	first()
	first()
	(<-second)()
	unlock, ok, err := TryLockPath(folder)
	if !ok || err != nil {
		t.Fatalf("a lock that is free: %t, %v", ok, err)
	}
	unlock()
}

func TestLockPathThatIsGivenUp(t *testing.T) {
	folder := t.TempDir()
	unlock, err := LockPath(t.Context(), folder, nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := LockPath(ctx, folder, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want that of the deadline", err)
	}
	unlock()
	unlock, err = LockPath(t.Context(), folder, nil)
	must(t, err)
	unlock()
}

func TestLockPathOfWhatIsNotThere(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "units")
	if _, err := LockPath(t.Context(), folder, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	must(t, os.Mkdir(folder, 0o755))
	unlock, err := LockPath(t.Context(), folder, nil)
	must(t, err)
	waiting, result := make(chan struct{}), make(chan error)
	go func() {
		_, err := LockPath(t.Context(), folder, func() { close(waiting) })
		result <- err
	}()
	<-waiting
	// The other may open it only now: then it was not there. That it waits in the kernel
	// tells nobody; a slow machine lets the test pass, never fail.
	time.Sleep(20 * time.Millisecond)
	must(t, os.Remove(folder))
	unlock()
	if err := <-result; !errors.Is(err, ErrRemoved) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrRemoved", err)
	}
}
