package takeover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// systemctlDeadline is more than systemd gives a service to end.
	systemctlDeadline = 2 * time.Minute
	// notLoaded is how systemctl ends about a unit that systemd does not know.
	notLoaded = 5
	// lingering is how long a systemctl that was told to end is waited for.
	lingering = 5 * time.Second
)

// systemctl runs systemctl where systemd runs. On a machine without it no service
// can be there, only its file.
func (t *Takeover) systemctl(ctx context.Context, args ...string) error {
	if _, err := os.Stat(t.path("/run/systemd/system")); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, systemctlDeadline)
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
