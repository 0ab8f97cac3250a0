package unitdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// LogPath returns the folder for the logs of a runner, which may not exist. Folders of
// logs are outside the unit's own and stay when it goes.
func (d *Dir) LogPath(runner string) string {
	return filepath.Join(d.logs(), runner)
}

// PruneLogs removes the folders of logs that were last written to before the
// given time, those of units that are gone included.
func (d *Dir) PruneLogs(before time.Time) error {
	entries, err := os.ReadDir(d.logs())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look for old logs of runners: %w", err)
	}
	var failures []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.IsDir() || !info.ModTime().Before(before) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.logs(), entry.Name())); err != nil {
			failures = append(failures, fmt.Errorf("cannot remove old logs: %w", err))
		}
	}
	return errors.Join(failures...)
}

func (d *Dir) logs() string {
	return filepath.Join("/", d.root, logsPath)
}
