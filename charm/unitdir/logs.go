package unitdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// LogDir makes the folder for the logs of a runner, mode 0750, and returns its
// path. Folders of logs are outside the unit's own and stay when it goes.
func (d *Dir) LogDir(runner string) (string, error) {
	if err := checkElement(runner); err != nil {
		return "", fmt.Errorf("cannot make a folder for logs: %w", err)
	}
	logs := d.logs()
	if err := os.MkdirAll(logs, 0o750); err != nil {
		return "", fmt.Errorf("cannot make the folder for runners' logs: %w", err)
	}
	path := filepath.Join(logs, runner)
	if err := os.Mkdir(path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("cannot make a folder for the logs of %s: %w", runner, err)
	}
	if err := checkOurs(path); err != nil {
		return "", fmt.Errorf("cannot use the folder for the logs of %s: %w", runner, err)
	}
	return path, nil
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
