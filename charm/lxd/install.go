package lxd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
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

// installations are how LXD gets onto a machine, by the ID in os-release. What an
// interrupted installation left half done is ended first: apt refuses to work
// beside it. The tools for btrfs come before LXD: the daemon looks for them only
// when it starts.
var installations = map[string][]step{
	"ubuntu": {
		{"finishing what was left half installed", []string{"dpkg", "--configure", "-a"}},
		{"refreshing the package lists", []string{"apt-get", "update"}},
		{"installing tools for storage and firewall", []string{"apt-get", "install", "--yes", "--no-install-recommends", "btrfs-progs", "nftables"}},
		{"installing LXD " + snapChannel, []string{"snap", "install", "lxd", "--channel=" + snapChannel}},
		{"waiting for LXD", []string{"/snap/bin/lxd", "waitready", "--timeout=120"}},
	},
	"debian": {
		{"finishing what was left half installed", []string{"dpkg", "--configure", "-a"}},
		{"refreshing the package lists", []string{"apt-get", "update"}},
		{"installing tools for storage and firewall", []string{"apt-get", "install", "--yes", "--no-install-recommends", "btrfs-progs", "nftables"}},
		{"installing LXD", []string{"apt-get", "install", "--yes", "lxd", "lxd-client"}},
		{"waiting for LXD", []string{"lxd", "waitready", "--timeout=120"}},
	},
}

// emulators are Debian's packages of what runs virtual machines, by Go's name for
// the machine: QEMU, its firmware, and what unpacks images. The snap has its own.
var emulators = map[string][]string{
	"amd64": {"qemu-system-x86", "ovmf", "qemu-utils", "gdisk"},
	"arm64": {"qemu-system-arm", "qemu-efi-aarch64", "qemu-utils", "gdisk"},
}

// installation returns the commands that install LXD, nil where none are known.
// For virtual machines Debian's LXD needs more, which it looks for only when it
// starts.
func installation(id string, virtual bool) []step {
	steps := installations[id]
	if id != "debian" || !virtual {
		return steps
	}
	command := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, emulators[runtime.GOARCH]...)
	return slices.Insert(slices.Clone(steps), len(steps)-2, step{"installing QEMU", command})
}

// Install installs LXD where it is missing, and says through progress what it is
// doing. An LXD that is there is used as it is, and with $LXD_DIR set nothing is
// ever installed.
func (c *Cloud) Install(ctx context.Context, progress func(string)) error {
	if c.Installed() {
		return nil
	}
	release, err := os.ReadFile(filepath.Join(c.config.Root, "/etc/os-release"))
	if err != nil {
		return fmt.Errorf("cannot install LXD: %w", err)
	}
	id := distribution(string(release))
	steps := installation(id, c.config.InstanceType == VirtualMachine)
	if steps == nil {
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

// places are where an LXD that is installed is seen, by the ID in os-release.
// Ubuntu since 24.04 has /usr/sbin/lxd and /usr/sbin/lxc without it: they belong
// to the package lxd-installer and only offer to install the snap.
var places = map[string][]string{
	"ubuntu": {snapSocket, "/snap/bin/lxd"},
	"debian": {snapSocket, debianSocket},
	"":       {snapSocket, debianSocket, "/snap/bin/lxd"},
}

// Installed reports whether LXD is there, or is somebody else's to bring, as with
// $LXD_DIR set. Where it is not, no runner can ever have been made.
func (c *Cloud) Installed() bool {
	if c.config.Socket != "" || os.Getenv("LXD_DIR") != "" {
		return true
	}
	release, _ := os.ReadFile(filepath.Join(c.config.Root, "/etc/os-release"))
	id := distribution(string(release))
	known, ok := places[id]
	if !ok {
		known = places[""]
	}
	for _, place := range known {
		if _, err := os.Stat(filepath.Join(c.config.Root, place)); err == nil {
			return true
		}
	}
	return id == "debian" && packaged(filepath.Join(c.config.Root, "/var/lib/dpkg"))
}

// packaged reports whether dpkg has installed LXD to the end: one that is only
// unpacked is none.
func packaged(database string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
	defer cancel()
	status, err := exec.CommandContext(ctx, "dpkg-query", "--admindir="+database, "-W", "-f", "${db:Status-Status}", "lxd").Output()
	return err == nil && string(status) == "installed"
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

// lingering is how long a command that was told to end, or that left children
// behind which hold its output open, is waited for.
const lingering = 5 * time.Second

// run runs a command to its end; what it printed last is part of its error. The
// children of a command that takes too long are told to end together with it.
func run(ctx context.Context, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, installDeadline)
	defer cancel()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "HOME=/root")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = lingering
	// Services that a package starts may keep its output: that is no failure.
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, runner.LastLines(output.Bytes()))
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
