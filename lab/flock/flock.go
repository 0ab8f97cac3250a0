// Package flock locks directories and files between the lab's processes.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const retryInterval = 100 * time.Millisecond

// Take locks path, a directory or a file that is there. It waits until ctx ends
// for whoever holds the lock; before it waits it calls waiting, which may be
// nil. The lock ends with release or with the process.
//
// Who held the lock may have removed the path: then the error is
// os.ErrNotExist, or what is there now under that name is locked.
func Take(ctx context.Context, path string, waiting func()) (release func(), err error) {
	for {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		current, err := lock(ctx, file, path, waiting)
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		if current {
			return func() { file.Close() }, nil
		}
		file.Close()
	}
}

// lock waits for the lock of a file and reports whether it still has its name.
func lock(ctx context.Context, file *os.File, path string, waiting func()) (current bool, err error) {
	if err := wait(ctx, file, waiting); err != nil {
		return false, err
	}
	locked, err := file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return os.SameFile(locked, now), nil
}

func wait(ctx context.Context, file *os.File, waiting func()) error {
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	for said := false; ; said = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !said && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
