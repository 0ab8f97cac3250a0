// Package flock locks files and directories between the lab's processes.
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

// Take locks path, a directory or a file, which it makes when it is missing. It
// waits until ctx ends for whoever holds the lock; before it waits it calls
// waiting, which may be nil. The lock ends with release or with the process.
func Take(ctx context.Context, path string, waiting func()) (release func(), err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	if err := wait(ctx, file, waiting); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
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
