package unitdir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const lockFile = "lock"

// ErrRemoved is the error of a lock whose folder went away while it was waited
// for: the unit was removed.
var ErrRemoved = errors.New("the unit's folder was removed")

// holder is what the lock's file says about who has it.
type holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// Lock takes the unit's lock and returns how to let it go, which may be called
// more than once. It waits until ctx ends; the error then names the process
// that has the lock. The kernel frees the lock of a process that dies.
//
// The wait is a blocking flock(2) in a goroutine: the kernel wakes it at the
// instant the lock is free, and serves those who wait in their order. Nothing
// can interrupt that call, so a Lock that was given up leaves its goroutine
// behind until the holder lets go; it then frees the lock at once.
func (d *Dir) Lock(ctx context.Context) (unlock func(), err error) {
	if d.meeting != nil {
		return d.meeting.Lock(ctx)
	}
	file, err := os.OpenFile(d.Path(lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrRemoved
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the unit's lock: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(d.notLocked(err), file.Close())
	}
	locked := make(chan error)
	go func() {
		err := flock(file)
		select {
		case locked <- err:
		case <-ctx.Done():
			file.Close()
		}
	}()
	select {
	case err = <-locked:
	case <-ctx.Done():
		return nil, d.notLocked(ctx.Err())
	}
	if err == nil {
		err = d.claim(file)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot get the unit's lock: %w", err), file.Close())
	}
	return func() { release(file) }, nil
}

// flock waits for the lock. Signals, such as the runtime's own, interrupt it.
func flock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// claim makes sure that the locked file is still the one that others will
// lock, and writes into it who we are.
func (d *Dir) claim(file *os.File) error {
	ours, err := file.Stat()
	if err != nil {
		return err
	}
	current, err := os.Lstat(d.Path(lockFile))
	if err != nil || !os.SameFile(ours, current) {
		return ErrRemoved
	}
	data, err := json.Marshal(holder{PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	// A note for people: on a full disk the lock must work all the same.
	if file.Truncate(0) == nil {
		file.WriteAt(append(data, '\n'), 0)
	}
	return nil
}

// release frees the lock by closing its file; the note goes first.
func release(file *os.File) {
	file.Truncate(0)
	file.Close()
}

// notLocked says who has the lock.
func (d *Dir) notLocked(why error) error {
	file, err := os.Open(d.Path(lockFile))
	if err != nil {
		return fmt.Errorf("cannot get the unit's lock: %w", why)
	}
	defer file.Close()
	var other holder
	if err := json.NewDecoder(io.LimitReader(file, 1024)).Decode(&other); err != nil {
		return fmt.Errorf("cannot get the unit's lock, another process has it: %w", why)
	}
	return fmt.Errorf("cannot get the unit's lock, process %d has had it since %s: %w", other.PID, other.Since.Format(time.TimeOnly+" MST"), why)
}
