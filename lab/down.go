package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github-runner/lab/flock"
)

// Down ends the lab of a directory, alive, half-made or crashed, removes
// everything that it made and says what that was. ErrNone when there is none.
func Down(ctx context.Context, dir string, progress io.Writer) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	if !l.Emulated() && os.Geteuid() != 0 {
		return fmt.Errorf("cannot end the lab in %s: it runs a real cloud, so that takes root", l.Dir)
	}
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	release, err := flock.Take(ctx, l.Dir, func() {
		fmt.Fprintln(progress, "waiting for another command of this lab")
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot end the lab: %w", err)
	}
	if err == nil {
		defer release()
	}
	// Who held the lock may have changed it, or removed it.
	if l, err = Open(dir); err != nil {
		return err
	}
	removed, err := l.down(ctx)
	for _, what := range removed {
		fmt.Fprintln(progress, "removed", what)
	}
	return err
}

// down goes on after a failure, so that as little as possible is left. Only the
// directory stays then, because the next attempt needs it.
func (l *Lab) down(ctx context.Context) (removed []string, err error) {
	var problems []error
	note := func(names []string, err error) {
		removed = append(removed, names...)
		problems = append(problems, err)
	}

	// Juju first, or it would go on running hooks.
	note(l.stopAll(ctx, func(p Process) bool { return p.Name == "serve-juju" }))
	note(endProcesses(ctx, l.runsHook, "hook"))
	// A unit's Pebble before what it would start again.
	note(endProcesses(ctx, l.runsDaemon, "Pebble"))
	note(endProcesses(ctx, l.runsService, "service"))
	bridges := l.bridges()
	if l.Cloud == CloudLXD {
		note(l.stopLXD(ctx))
	}
	if l.ProjectID != "" && l.Share != "" {
		note(l.leaveOpenStack(ctx))
	}
	note(l.stopAll(ctx, func(Process) bool { return true }))

	if l.Cloud == CloudOpenStack {
		note(nil, awaitNone(ctx, l.isStray))
	}
	// What follows finds something only when LXD could not do it itself.
	note(endProcesses(ctx, l.isStray, "stray process"))
	if os.Geteuid() == 0 {
		note(l.unmount())
		note(l.detachLoops(ctx))
		note(removeBridges(ctx, bridges))
	}
	if l.Network != nil {
		note(l.stopNetwork(ctx))
	}
	if err := errors.Join(problems...); err != nil {
		return removed, fmt.Errorf("cannot remove all of the lab in %s, 'lab down' tries again: %w", l.Dir, err)
	}
	if err := l.removeDir(); err != nil {
		return removed, err
	}
	return append(removed, "directory "+l.Dir), nil
}

// stopAll ends the chosen background processes, the last started first.
func (l *Lab) stopAll(ctx context.Context, chosen func(Process) bool) (removed []string, err error) {
	var problems []error
	for _, p := range slices.Backward(l.Processes) {
		if !chosen(p) || !p.Alive() {
			continue
		}
		if err := p.stop(ctx); err != nil {
			problems = append(problems, err)
			continue
		}
		removed = append(removed, fmt.Sprintf("process %s (%d)", p.Name, p.PID))
	}
	return removed, errors.Join(problems...)
}

// stopLXD empties the lab's LXD and shuts it down. A daemon that died is
// started again for that: it alone knows all that it made.
func (l *Lab) stopLXD(ctx context.Context) (removed []string, err error) {
	if _, err := os.Stat(filepath.Join(l.LXDDir, "database")); err != nil {
		return nil, nil
	}
	if len(l.running("lxd")) == 0 {
		if err := os.MkdirAll(l.LogDir(), 0o755); err != nil {
			return nil, err
		}
		if err := l.spawnLXD(ctx); err != nil {
			return []string{"what follows without LXD, which does not start any more"}, nil
		}
	}
	daemons := l.running("lxd")
	removed, err = emptyLXD(ctx, l.LXDSocket())
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	shutdown := exec.CommandContext(ctx, "lxd", "shutdown", "--timeout", "20")
	shutdown.Env = append(l.daemonEnv(), "LXD_DIR="+l.LXDDir)
	if out, shutdownErr := shutdown.CombinedOutput(); shutdownErr != nil {
		err = errors.Join(err, fmt.Errorf("cannot shut LXD down: %w: %s", shutdownErr, strings.TrimSpace(string(out))))
	}
	for _, p := range daemons {
		if p.waitGone(ctx, stopTimeout) {
			removed = append(removed, fmt.Sprintf("process lxd (%d)", p.PID))
		}
	}
	return removed, err
}

// running returns the background processes of a name that are alive.
func (l *Lab) running(name string) []Process {
	return slices.DeleteFunc(slices.Clone(l.Processes), func(p Process) bool {
		return p.Name != name || !p.Alive()
	})
}

// stopNetwork removes the stand-in's network and, with the last one, what was
// changed for all of them.
func (l *Lab) stopNetwork(ctx context.Context) (removed []string, err error) {
	release, err := lockMachine(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	removed, err = l.Network.down(ctx)
	if err != nil || anyLab() {
		return removed, err
	}
	restored, err := restore(kernelSettings(), kernelRecord)
	return append(removed, restored...), err
}

// removeDir removes the lab's directory. It refuses while something is mounted
// there: that would be emptied, too.
func (l *Lab) removeDir() error {
	mounts, err := l.mounts()
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("cannot remove %s: still mounted there: %s", l.Dir, strings.Join(mounts, ", "))
	}
	for _, dir := range []string{l.LXDDir, l.Dir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot remove the lab's directory: %w", err)
		}
	}
	if filepath.Dir(l.LXDDir) == outsideDir {
		// It stays while another lab has something in it.
		_ = os.Remove(outsideDir)
	}
	return nil
}
