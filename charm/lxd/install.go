package lxd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github-runner/charm/runner"
)

// installDeadline bounds each command of an installation; packages may come over
// a slow line.
const installDeadline = 15 * time.Minute

// snapChannel is the LXD that Canonical supports for long.
const snapChannel = "5.21/stable"

// step is one command of an installation.
type step struct {
	progress string
	command  []string
}

// installations are how LXD gets onto a machine, by the ID in os-release. The
// tools for btrfs come first: the daemon looks for them only when it starts.
var installations = map[string][]step{
	"ubuntu": {
		{"refreshing the package lists", []string{"apt-get", "update"}},
		{"installing storage tools", []string{"apt-get", "install", "--yes", "--no-install-recommends", "btrfs-progs"}},
		{"installing LXD " + snapChannel, []string{"snap", "install", "lxd", "--channel=" + snapChannel}},
		{"waiting for LXD", []string{"/snap/bin/lxd", "waitready", "--timeout=120"}},
	},
	"debian": {
		{"refreshing the package lists", []string{"apt-get", "update"}},
		{"installing storage tools", []string{"apt-get", "install", "--yes", "--no-install-recommends", "btrfs-progs"}},
		{"installing LXD", []string{"apt-get", "install", "--yes", "lxd", "lxd-client"}},
		{"waiting for LXD", []string{"lxd", "waitready", "--timeout=120"}},
	},
}

// Install installs LXD where it is missing, and says through progress what it is
// doing. An LXD that is there is used as it is, and with $LXD_DIR set nothing is
// ever installed.
func (c *Cloud) Install(ctx context.Context, progress func(string)) error {
	if installed(c.config) {
		return nil
	}
	release, err := os.ReadFile(filepath.Join(c.config.Root, "/etc/os-release"))
	if err != nil {
		return fmt.Errorf("cannot install LXD: %w", err)
	}
	id := distribution(string(release))
	steps, ok := installations[id]
	if !ok {
		return runner.Trouble{
			Advice: "install LXD on this machine by hand",
			Err:    fmt.Errorf("cannot install LXD on %q: only ubuntu and debian are known", id),
		}
	}
	for _, step := range steps {
		progress(step.progress)
		if err := run(ctx, step.command); err != nil {
			return fmt.Errorf("cannot install LXD: %w", err)
		}
	}
	return c.Ready(ctx)
}

// installed reports whether LXD is there, or is somebody else's to bring.
func installed(config Config) bool {
	if config.Socket != "" || os.Getenv("LXD_DIR") != "" {
		return true
	}
	for _, place := range []string{snapSocket, debianSocket, "/snap/bin/lxd", "/usr/bin/lxd", "/usr/sbin/lxd"} {
		if _, err := os.Stat(place); err == nil {
			return true
		}
	}
	return false
}

// distribution returns the ID of an os-release file.
func distribution(release string) string {
	for line := range strings.Lines(release) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
			return strings.Trim(id, `"'`)
		}
	}
	return ""
}

// run runs a command to its end; what it printed last is part of its error.
func run(ctx context.Context, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, installDeadline)
	defer cancel()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "HOME=/root")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, lastLines(output.Bytes()))
	}
	return nil
}

// Ready returns nil when the daemon answers.
func (c *Cloud) Ready(ctx context.Context) error {
	server, cancel, err := c.connect(ctx, callDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	_, _, err = server.GetServer()
	return cannot(err, "reach LXD at %s", c.config.socket())
}
