package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A daemon that was started this often in this time is given up: systemd's own
// limit, see DefaultStartLimitBurst in systemd-system.conf(5).
const (
	startLimit       = 5
	startLimitPeriod = 10 * time.Second
)

// KeepLXD runs a real LXD daemon until ctx ends, and starts it again where it
// failed, as the service of LXD's package does ("Restart=on-failure"): LXD 5.0.2
// crashes now and then by a race of its own, "concurrent map read and map write" in
// devlxd.go, while containers ask it for their configuration. What it does and says
// goes to log. The daemon gets this process's environment, and ends with it.
func KeepLXD(ctx context.Context, log io.Writer) error {
	return keep(ctx, log, "lxd", "--group", "root")
}

// keep runs a daemon until it ends well or ctx ends.
func keep(ctx context.Context, log io.Writer, argv ...string) error {
	// Pdeathsig tells of the end of the thread that started the daemon.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var starts []time.Time
	for {
		starts = append(starts[max(0, len(starts)-startLimit+1):], time.Now())
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		// LXD's own helpers survive it, as its containers do.
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Run()
		if ctx.Err() != nil || err == nil {
			return nil
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return fmt.Errorf("cannot run %s: %w", argv[0], err)
		}
		if len(starts) == startLimit && time.Since(starts[0]) < startLimitPeriod {
			return fmt.Errorf("cannot keep %s running: it failed %d times within %s, the last time with: %w", argv[0], startLimit, startLimitPeriod, err)
		}
		fmt.Fprintf(log, "%s failed (%v) and is started again\n", argv[0], err)
	}
}
