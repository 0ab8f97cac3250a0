package unitdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// drainedFile is there while the unit is drained. It is a file of its own, with
// nothing in it that could be misread: whoever ends a unit because it is drained
// must not find new jobs on it after state.json was lost.
const drainedFile = "drained"

// DrainedSince returns since when the unit is drained, the zero time where it is
// not.
func (d *Dir) DrainedSince() (time.Time, error) {
	info, err := os.Lstat(d.Path(drainedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot find out whether the unit is drained: %w", err)
	}
	return info.ModTime(), nil
}

// MarkDrained keeps in mind that the unit is drained; since when, where it was
// before.
func (d *Dir) MarkDrained() error {
	since, err := d.DrainedSince()
	if err != nil || !since.IsZero() {
		return err
	}
	if err := writeFile(d.Path(drainedFile), nil, 0o600); err != nil {
		return fmt.Errorf("cannot mark the unit as drained: %w", err)
	}
	return nil
}

// UnmarkDrained forgets it; nil where the unit was not drained.
func (d *Dir) UnmarkDrained() error {
	if err := os.RemoveAll(d.Path(drainedFile)); err != nil {
		return fmt.Errorf("cannot forget that the unit was drained: %w", err)
	}
	if err := syncDir(d.Path()); err != nil {
		return fmt.Errorf("cannot forget that the unit was drained: %w", err)
	}
	return nil
}
