package takeover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/runner"
)

// Tidy removes what the Python charm left besides runners: at once what only its
// hooks used, the rest when no runner needs it any more. What other units of that
// charm on this machine use stays. Each part is tried, whatever becomes of the
// others, and can be ended by a later call.
func (t *Takeover) Tidy(ctx context.Context) error {
	instances, err := t.cfg.Machines.FormerInstances(ctx)
	if err != nil {
		return err
	}
	if !t.memory.Found {
		t.memory = Memory{Done: true}
		return t.cfg.Save(t.memory)
	}
	alive, mine := map[string]bool{}, 0
	for _, instance := range instances {
		alive[instance.Name] = true
		if owns(t.cfg.Unit, instance.Name) {
			mine++
		}
	}
	// Before its source goes, what was learned from it must be kept.
	if err := t.cfg.Save(t.memory); err != nil {
		return err
	}
	failures := []error{
		t.endTimer(ctx),
		t.removeCron(),
		t.removeSecrets(),
		t.removeMetrics(ctx, alive),
	}
	if mine == 0 {
		failures = append(failures, t.removeShared(ctx, len(instances) > 0))
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("cannot remove all that the previous charm left: %w", err)
	}
	if mine > 0 {
		return nil
	}
	t.memory = Memory{Done: true}
	t.cfg.Log.Info("the previous charm has been taken over: nothing that was this unit's is left of it")
	return t.cfg.Save(t.memory)
}

// path is where something lies below the root.
func (t *Takeover) path(elem ...string) string {
	return filepath.Join(append([]string{"/", t.cfg.Root}, elem...)...)
}

// endTimer ends the timer that ran the Python charm's hook, if it is this unit's:
// every unit of a machine wrote the same files, and the last one has the timer.
// The file that tells whose it is goes last.
func (t *Takeover) endTimer(ctx context.Context) error {
	service := t.path(systemdDir, timerService)
	content, err := os.ReadFile(service)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !strings.Contains(string(content), `juju-exec "`+t.cfg.Unit+`"`) {
		return nil
	}
	timer := t.path(systemdDir, timerUnit)
	if _, err := os.Stat(timer); err == nil {
		if err := t.systemctl(ctx, "disable", "--now", timerUnit); err != nil {
			return err
		}
	}
	if err := t.systemctl(ctx, "stop", timerService); err != nil {
		return err
	}
	for _, file := range []string{timer, service} {
		if err := remove(file); err != nil {
			return err
		}
	}
	t.cfg.Log.Info("removed the previous charm's timer")
	return t.systemctl(ctx, "daemon-reload")
}

// removeCron removes the schedule for images, if it runs this unit's script.
func (t *Takeover) removeCron() error {
	content, err := os.ReadFile(t.path(cronFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !strings.Contains(string(content), " "+filepath.Join(t.cfg.CharmDir, "scripts")+"/") {
		return nil
	}
	return remove(t.path(cronFile))
}

func (t *Takeover) removeSecrets() error {
	var failures []error
	for _, name := range secretFiles {
		failures = append(failures, remove(filepath.Join(t.cfg.CharmDir, name)))
	}
	return errors.Join(failures...)
}

// removeMetrics removes the file systems of this unit's runners that are gone, once
// what they measured is written down.
func (t *Takeover) removeMetrics(ctx context.Context, alive map[string]bool) error {
	var failures []error
	for _, place := range []struct{ dir, suffix string }{{metricsDir, ""}, {metricsImages, ".img"}, {quarantineDir, ".tar.gz"}} {
		dir := t.path(place.dir)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, err)
		}
		for _, entry := range entries {
			name, ok := strings.CutSuffix(entry.Name(), place.suffix)
			if !ok || alive[name] || !owns(t.cfg.Unit, name) {
				continue
			}
			if place.dir == metricsDir && t.cfg.Journal != nil {
				remains, came := t.cfg.Machines.FormerRemains(dir, name)
				t.cfg.Journal.Ended(ctx, runner.Info{Instance: runner.Instance{Name: name, Scope: t.former()}}, remains, came)
			}
			failures = append(failures, removeAll(filepath.Join(dir, entry.Name())))
		}
		failures = append(failures, removeEmpty(dir))
	}
	return errors.Join(failures...)
}

// removeShared removes what all units of the Python charm on this machine shared,
// unless another one is there: by its runners, or by its own state.
func (t *Takeover) removeShared(ctx context.Context, runners bool) error {
	others, err := t.others()
	if err != nil {
		return err
	}
	if runners || len(others) > 0 {
		t.cfg.Log.WithField("units", strings.Join(others, ", ")).Info("what the previous charm's units share stays: others on this machine use it")
		return nil
	}
	return errors.Join(
		t.endPolicy(ctx),
		t.cfg.Machines.RemoveFormerSetup(ctx),
		remove(t.path(applicationFile)),
		t.freeMemory(),
	)
}

// others names the folders of the machine's other units that the Python charm
// still keeps its state in.
func (t *Takeover) others() ([]string, error) {
	// …/agents/unit-app-0/charm
	agents := filepath.Dir(filepath.Dir(t.cfg.CharmDir))
	states, err := filepath.Glob(filepath.Join(agents, "unit-*", "charm", stateFile))
	if err != nil {
		return nil, err
	}
	var units []string
	for _, state := range states {
		if charm := filepath.Dir(state); charm != filepath.Clean(t.cfg.CharmDir) {
			units = append(units, filepath.Base(filepath.Dir(charm)))
		}
	}
	return units, nil
}

// endPolicy ends the policy service, if it is that charm's: somebody may have one
// of the same name.
func (t *Takeover) endPolicy(ctx context.Context) error {
	file := t.path(systemdDir, policyUnit)
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !strings.Contains(string(content), "WorkingDirectory="+policyDir+"\n") {
		return nil
	}
	if err == nil {
		if err := t.systemctl(ctx, "disable", "--now", policyUnit); err != nil {
			return err
		}
		if err := remove(file); err != nil {
			return err
		}
		t.cfg.Log.Info("removed the previous charm's policy service")
		if err := t.systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	return removeAll(t.path(policyDir))
}

// freeMemory unmounts the memory that the runners' disks were in, once LXD's pool
// there is gone.
func (t *Takeover) freeMemory() error {
	dir := t.path(memoryDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return nil // somebody else's
	}
	return errors.Join(removeAll(dir), removeEmpty(filepath.Dir(dir)))
}

// remove removes a file; nil when it is gone.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmpty removes a folder that nothing is in or on.
func removeEmpty(path string) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// removeAll unmounts whatever is mounted on a path and removes it with all that
// is in it. A mount that does not let go keeps what is in it.
func removeAll(path string) error {
	if err := mounts.Detach(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(path)
}
