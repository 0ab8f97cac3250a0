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
	if err := await(ctx, file); err != nil {
		if ended := ctx.Err(); ended != nil {
			return nil, d.notLocked(ended)
		}
		return nil, fmt.Errorf("cannot get the unit's lock: %w", err)
	}
	if err := d.claim(file); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot get the unit's lock: %w", err), file.Close())
	}
	return func() { release(file) }, nil
}

// claim makes sure that the locked file is still the one that others will
// lock, and writes into it who we are.
func (d *Dir) claim(file *os.File) error {
	if err := stillAt(file, d.Path(lockFile)); err != nil {
		return err
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
