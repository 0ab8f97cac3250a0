// Package systemd asks systemd for something, by systemctl.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// deadline is more than systemd gives a service to end.
	deadline = 2 * time.Minute
	// notLoaded is how systemctl ends about a unit that systemd does not know.
	notLoaded = 5
	// lingering is how long a systemctl that was told to end is waited for.
	lingering = 5 * time.Second
)

// Runs reports whether systemd is what runs the machine. The root is put before
// /run, for tests.
func Runs(root string) bool {
	_, err := os.Stat(filepath.Join("/", root, "run/systemd/system"))
	return err == nil
}

// Control runs systemctl, for two minutes at most. A unit that systemd does not
// know is no error.
func Control(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = lingering
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() == notLoaded {
		return nil
	}
	return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
}
