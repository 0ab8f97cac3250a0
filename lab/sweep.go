package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ownerVariable is in the environment of a lab's background processes and of
// what they start; its value is the lab's directory.
const ownerVariable = "GITHUB_RUNNER_LAB"

// proc is one process of this machine, as /proc shows it.
type proc struct {
	Process
	args []string
	env  []string
}

// runsHook reports whether a process is a hook or an action of the lab's
// charms, or was started by one.
func (l *Lab) runsHook(p proc) bool {
	return slices.Contains(p.env, "GITHUB_RUNNER_ROOT="+l.Root) &&
		slices.ContainsFunc(p.env, func(v string) bool { return strings.HasPrefix(v, "JUJU_CONTEXT_ID=") })
}

// runsDaemon reports whether a process is a Pebble of one of the lab's units.
func (l *Lab) runsDaemon(p proc) bool {
	return l.runsService(p) && filepath.Base(p.args[0]) == "pebble"
}

// runsService reports whether a process is a Pebble of one of the lab's units, or
// was started by one: its program is in the lab, and $PEBBLE below its root. A
// shell that somebody set the variable in is none.
func (l *Lab) runsService(p proc) bool {
	return len(p.args) > 0 && strings.HasPrefix(p.args[0], l.Dir+"/") &&
		slices.ContainsFunc(p.env, func(v string) bool { return strings.HasPrefix(v, "PEBBLE="+l.Root+"/") })
}

// isStray reports whether a process belongs to the lab, which LXD's helpers
// show in their arguments only.
func (l *Lab) isStray(p proc) bool {
	if slices.Contains(p.env, ownerVariable+"="+l.Dir) || l.runsHook(p) || l.runsService(p) {
		return true
	}
	if len(p.args) == 0 {
		return false
	}
	if strings.HasPrefix(p.args[0], "[lxc monitor] "+l.LXDDir+"/") {
		return true
	}
	helper := slices.Contains([]string{"dnsmasq", "lxd"}, filepath.Base(p.args[0]))
	return helper && slices.ContainsFunc(p.args, func(arg string) bool { return strings.Contains(arg, l.LXDDir+"/") })
}

// processes lists the processes that match; those that may not be looked at do
// not.
func processes(match func(proc) bool) ([]proc, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var found []proc
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		ticks, err := startTicks(pid)
		if err != nil {
			continue
		}
		p := proc{
			Process: Process{PID: pid, StartTicks: ticks},
			args:    nulSeparated(pid, "cmdline"),
			env:     nulSeparated(pid, "environ"),
		}
		if match(p) {
			p.Name = strings.Join(p.args, " ")
			found = append(found, p)
		}
	}
	return found, nil
}

func nulSeparated(pid int, file string) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
}

// awaitNone waits for processes that the kernel is ending, because the first one of
// their namespace is gone; not longer than for one that was told to end.
func awaitNone(ctx context.Context, match func(proc) bool) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		left, err := processes(match)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // they are ended one by one
		case <-tick.C:
		}
	}
}

func endProcesses(ctx context.Context, match func(proc) bool, what string) (removed []string, err error) {
	found, err := processes(match)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, p := range found {
		if err := p.stop(ctx); err != nil {
			problems = append(problems, err)
			continue
		}
		removed = append(removed, fmt.Sprintf("%s %d: %s", what, p.PID, p.Name))
	}
	return removed, errors.Join(problems...)
}

// mounts returns the mount points below the lab's directories, the innermost
// and last mounted first.
func (l *Lab) mounts() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot list mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if point := unescape(fields[4]); l.holds(point) {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points, nil
}

// holds reports whether a path lies in the lab's directories.
func (l *Lab) holds(path string) bool {
	return strings.HasPrefix(path, l.Dir+"/") || strings.HasPrefix(path, l.LXDDir+"/")
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

func (l *Lab) unmount() (removed []string, err error) {
	points, err := l.mounts()
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, point := range points {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			problems = append(problems, fmt.Errorf("cannot unmount %s: %w", point, err))
			continue
		}
		removed = append(removed, "mount "+point)
	}
	return removed, errors.Join(problems...)
}

// loops returns the loop devices whose backing files lie below the lab's
// directory.
func (l *Lab) loops() []string {
	paths, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil
	}
	var devices []string
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil || !l.holds(string(file)) {
			continue
		}
		devices = append(devices, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(path))))
	}
	return devices
}

func (l *Lab) detachLoops(ctx context.Context) (removed []string, err error) {
	return removeEach(l.loops(), func(device string) error {
		return run(ctx, "losetup", "--detach", device)
	})
}

// bridges returns the names of the bridges that the lab's LXD made, for which
// it keeps a folder each.
func (l *Lab) bridges() []string {
	return bridgesOf(l.LXDDir)
}

func bridgesOf(lxdDir string) []string {
	entries, err := os.ReadDir(filepath.Join(lxdDir, "networks"))
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func removeBridges(ctx context.Context, names []string) (removed []string, err error) {
	var problems []error
	for _, name := range names {
		if _, err := net.InterfaceByName(name); err != nil {
			continue
		}
		if err := run(ctx, "ip", "link", "delete", name); err != nil {
			problems = append(problems, err)
			continue
		}
		removed = append(removed, "interface "+name)
	}
	chains, err := firewallChains(ctx, names)
	if err != nil {
		return removed, errors.Join(append(problems, err)...)
	}
	// Chains jump to each other: all are emptied before the first is removed.
	for _, verb := range []string{"flush", "delete"} {
		for _, c := range chains {
			problems = append(problems, run(ctx, "nft", verb, "chain", c.Family, c.Table, c.Name))
		}
	}
	for _, c := range chains {
		removed = append(removed, "firewall chain "+c.Name)
	}
	tables, err := firewallTables(ctx)
	problems = append(problems, err)
	for _, name := range tables {
		if slices.Contains(names, name) {
			problems = append(problems, run(ctx, "nft", "delete", "table", "inet", name))
			removed = append(removed, "firewall table "+name)
		}
	}
	return removed, errors.Join(problems...)
}

// firewallTables returns the names of the tables of the kernel's packet filter but
// LXD's own. The charm makes one of the same name for each of its bridges.
func firewallTables(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nft", "list", "tables", "inet").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list firewall tables: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "table inet "); ok && name != "lxd" {
			names = append(names, name)
		}
	}
	return names, nil
}

// chain is a chain of the kernel's packet filter.
type chain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
}

// firewallChains returns LXD's chains for the bridges, which it names by them.
func firewallChains(ctx context.Context, bridges []string) ([]chain, error) {
	if len(bridges) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nft", "--json", "list", "chains").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list firewall chains: %w", err)
	}
	var listing struct {
		Nftables []struct {
			Chain *chain `json:"chain"`
		} `json:"nftables"`
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&listing); err != nil {
		return nil, fmt.Errorf("cannot read the list of firewall chains: %w", err)
	}
	var found []chain
	for _, row := range listing.Nftables {
		if row.Chain == nil || row.Chain.Table != "lxd" {
			continue
		}
		if _, bridge, ok := strings.Cut(row.Chain.Name, "."); ok && slices.Contains(bridges, bridge) {
			found = append(found, *row.Chain)
		}
	}
	return found, nil
}
