package unitdir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// LockPath takes the kernel's lock of a file or folder that is there, and returns how
// to let it go, which may be called more than once. Where another has it, waiting is
// called, which may be nil, and the lock is waited for until ctx ends. The kernel
// frees the lock of a process that dies. The error is ErrRemoved where the path went
// away meanwhile.
func LockPath(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	unlock, ok, err := TryLockPath(path)
	if ok || err != nil {
		return unlock, err
	}
	if waiting != nil {
		waiting()
	}
	file, err := openPath(path)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, file); err != nil {
		return nil, fmt.Errorf("cannot lock %s, another process has it: %w", path, err)
	}
	if err := stillAt(file, path); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), file.Close())
	}
	return func() { file.Close() }, nil
}

// TryLockPath is LockPath without the wait: ok is false where another has the lock.
func TryLockPath(path string) (unlock func(), ok bool, err error) {
	file, err := openPath(path)
	if err != nil {
		return nil, false, err
	}
	err = flock(file, syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, file.Close()
	}
	if err == nil {
		err = stillAt(file, path)
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), file.Close())
	}
	return func() { file.Close() }, true, nil
}

func openPath(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return file, nil
}

// await waits for the lock of a file, which it closes after an error.
//
// The wait is a blocking flock(2) in a goroutine: the kernel wakes it at the
// instant the lock is free, and serves those who wait in their order. Nothing
// can interrupt that call, so a wait that was given up leaves its goroutine
// behind until the holder lets go; it then frees the lock at once.
func await(ctx context.Context, file *os.File) error {
	if err := ctx.Err(); err != nil {
		return errors.Join(err, file.Close())
	}
	locked := make(chan error)
	go func() {
		err := flock(file, 0)
		select {
		case locked <- err:
		case <-ctx.Done():
			file.Close()
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			return errors.Join(err, file.Close())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flock takes the lock. Signals, such as the runtime's own, interrupt it.
func flock(file *os.File, flags int) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|flags)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// stillAt makes sure that a locked file is still the one that others will lock.
func stillAt(file *os.File, path string) error {
	ours, err := file.Stat()
	if err != nil {
		return err
	}
	current, err := os.Lstat(path)
	if err != nil || !os.SameFile(ours, current) {
		return ErrRemoved
	}
	return nil
}
