package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Places under the root, shared by all units of a machine.
const (
	logPath       = "var/log/github-runner-metrics.log"
	logrotatePath = "etc/logrotate.d/github-runner-metrics"
)

// Log is the machine's metrics log.
type Log struct {
	path   string
	rotate string
}

// NewLog returns the log under root, which is put before /var and may be
// empty.
func NewLog(root string) Log {
	return Log{
		path:   filepath.Join("/", root, logPath),
		rotate: filepath.Join("/", root, logrotatePath),
	}
}

// Path is where the log is.
func (l Log) Path() string {
	return l.path
}

// Write appends events, each as one line in one write, so that units that
// share the log never mix theirs. The file is opened anew each time: it may
// have been rotated. Losing events is no reason to stop: log the error and go
// on.
func (l Log) Write(events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of the metrics log: %w", err)
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return fmt.Errorf("cannot open the metrics log: %w", err)
	}
	var failures []error
	for _, event := range events {
		if _, err := file.WriteString(event.encode().String() + "\n"); err != nil {
			failures = append(failures, fmt.Errorf("cannot write to the metrics log: %w", err))
		}
	}
	return errors.Join(append(failures, file.Close())...)
}

// logrotateConfig keeps one old log for a week. It names create explicitly,
// because distributions differ in their defaults, and the reader of the log
// must find one after each rotation.
const logrotateConfig = `"%s" {
    weekly
    rotate 1
    missingok
    notifempty
    create
}
`

// WriteLogrotate makes sure that the log is rotated by the machine's
// logrotate. It writes only where something else, or nothing, is there.
func (l Log) WriteLogrotate() error {
	if strings.ContainsAny(l.path, "\"\n") {
		return fmt.Errorf("cannot have the metrics log rotated: %q is no path for logrotate", l.path)
	}
	want := fmt.Sprintf(logrotateConfig, l.path)
	if have, err := os.ReadFile(l.rotate); err == nil && string(have) == want {
		return nil
	}
	if err := replace(l.rotate, want); err != nil {
		return fmt.Errorf("cannot have the metrics log rotated: %w", err)
	}
	return nil
}

// RemoveLogrotate removes what WriteLogrotate wrote; nil when it is gone.
func (l Log) RemoveLogrotate() error {
	err := os.Remove(l.rotate)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot end the rotation of the metrics log: %w", err)
	}
	return nil
}

// replace writes a file in one step. Until then it has a name that logrotate
// passes over.
func replace(path, content string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*~")
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
