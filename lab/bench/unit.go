package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github-runner/charm/runner"
)

const (
	token = "ghp_benchmark"

	// The repository that runners register with.
	repositoryOwner = "acme"
	repositoryName  = "widgets"
	repository      = repositoryOwner + "/" + repositoryName

	// hookTimeout is longer than any hook of the charm takes.
	hookTimeout = 12 * time.Minute
)

// hookTools are stand-ins for Juju's that cost next to nothing. Whatever the
// charm calls and is not here answers 127.
var hookTools = map[string]string{
	"config-get":              `exec cat "$BENCH_UNIT/config.json"`,
	"status-set":              `shift; printf '%s: %s\n' "$1" "$2" >"$BENCH_UNIT/status"`,
	"juju-log":                `printf '%s\n' "$*" >>"$BENCH_UNIT/log"`,
	"storage-list":            `echo '[]'`,
	"relation-ids":            `echo '[]'`,
	"action-get":              `echo '{}'`,
	"action-set":              `:`,
	"action-fail":             `printf '%s\n' "$*" >>"$BENCH_UNIT/log"`,
	"application-version-set": `:`,
}

// unit is one unit of the charm, unpacked and configured.
type unit struct {
	stage  *stage
	dir    string
	owner  runner.Owner
	config map[string]any
}

// newUnit lays out a unit on a stage. It runs no hook.
func newUnit(on *stage, charm, name string) (*unit, error) {
	u := &unit{
		stage: on,
		dir:   filepath.Join(on.dir, "unit-"+strings.ReplaceAll(name, "/", "-")),
		owner: runner.Owner{ModelUUID: on.model, Unit: name},
		config: map[string]any{
			"path":               repository,
			"token":              token,
			"group":              "default",
			"github-url":         on.githubURL,
			"image-interval":     0,
			"labels":             "",
			"virtual-machines":   0,
			"reconcile-interval": 10,
			"base-image":         imageAlias,
			"lxd-instance-type":  "container",
			"runner-storage":     "juju-storage",
			"vm-cpu":             2,
			"vm-memory":          "2GiB",
			"vm-disk":            "10GiB",
			"denylist":           "",
			"dockerhub-mirror":   "",
		},
	}
	if on.openStack != nil {
		maps.Copy(u.config, on.openStack.options)
	}
	if err := u.unpack(charm); err != nil {
		return nil, fmt.Errorf("cannot set up a unit: %w", err)
	}
	return u, nil
}

// unpack makes the charm's folder and the hook tools.
func (u *unit) unpack(charm string) error {
	for _, folder := range []string{"charm/hooks", "tools"} {
		if err := os.MkdirAll(filepath.Join(u.dir, folder), 0o755); err != nil {
			return err
		}
	}
	program := filepath.Join(u.dir, "charm/github-runner")
	if err := os.Symlink(charm, program); err != nil {
		return err
	}
	for _, hook := range []string{"config-changed", "update-status", "stop"} {
		if err := os.Symlink("../github-runner", filepath.Join(u.dir, "charm/hooks", hook)); err != nil {
			return err
		}
	}
	for name, script := range hookTools {
		if err := os.WriteFile(filepath.Join(u.dir, "tools", name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// want sets the number of runners for the hooks to come.
func (u *unit) want(count int) error {
	config := maps.Clone(u.config)
	config["virtual-machines"] = count
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(u.dir, "config.json"), data, 0o600)
}

// hook runs one hook and measures it. A hook that leaves the unit in another
// status than active has done something else than what was to be measured.
func (u *unit) hook(ctx context.Context, name string) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	usage, err := measure(ctx, command{
		path:   filepath.Join(u.dir, "charm/hooks", name),
		env:    u.environment(name),
		dir:    filepath.Join(u.dir, "charm"),
		output: filepath.Join(u.dir, "output"),
	})
	if err != nil {
		return usage, fmt.Errorf("hook %s: %w%s", name, err, u.lastWords())
	}
	status, err := os.ReadFile(filepath.Join(u.dir, "status"))
	if err != nil {
		return usage, fmt.Errorf("hook %s sets no status: %w", name, err)
	}
	if name != "stop" && !strings.HasPrefix(string(status), "active: ") {
		return usage, fmt.Errorf("hook %s leaves the unit in status %q%s", name, strings.TrimSpace(string(status)), u.lastWords())
	}
	return usage, nil
}

// environment is what Juju gives a hook.
func (u *unit) environment(hook string) []string {
	charm := filepath.Join(u.dir, "charm")
	return append(u.stage.environment(),
		"PATH="+filepath.Join(u.dir, "tools")+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"JUJU_UNIT_NAME="+u.owner.Unit,
		"JUJU_MODEL_UUID="+u.owner.ModelUUID,
		"JUJU_MODEL_NAME=bench",
		"JUJU_CHARM_DIR="+charm,
		"CHARM_DIR="+charm,
		"JUJU_VERSION=4.0.15",
		"JUJU_HOOK_NAME="+hook,
		"JUJU_DISPATCH_PATH=hooks/"+hook,
		"BENCH_UNIT="+u.dir,
	)
}

// lastWords are the last lines of the unit's log, for an error.
func (u *unit) lastWords() string {
	log, err := os.ReadFile(filepath.Join(u.dir, "log"))
	if err != nil || len(log) == 0 {
		return ""
	}
	return "; the log ends with:\n" + tail(log)
}

// scale makes the unit have so many runners online.
func (u *unit) scale(ctx context.Context, count int) (Usage, error) {
	if err := u.want(count); err != nil {
		return Usage{}, err
	}
	return u.hook(ctx, "config-changed")
}

// remove removes the unit with all that it made.
func (u *unit) remove(ctx context.Context) error {
	if _, err := u.hook(ctx, "stop"); err != nil {
		return fmt.Errorf("cannot remove the unit: %w", err)
	}
	return os.RemoveAll(u.dir)
}
