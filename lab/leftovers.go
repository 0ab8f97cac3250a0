package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/github"
)

// Inventory is what a charm can leave behind, by kind. Two of them, taken before
// and after, tell what it did leave.
type Inventory map[string][]string

// Kinds are the kinds of an Inventory of any cloud, in the order in which they are
// shown.
func Kinds() []string {
	return []string{
		"instances", "servers", "registrations", "networks", "network ACLs", "profiles", "storage pools",
		"ports", "security groups", "images", "floating IPs", "keypairs",
		"bridges", "firewall tables", "mounts", "loop devices", "processes", "files",
	}
}

// Leftovers returns what is there now and was not when the lab came up, by
// kind. Logs and their rotation are not counted: the charm keeps them on
// purpose.
func (l *Lab) Leftovers(ctx context.Context) (Inventory, error) {
	before, err := readInventory(l.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot tell what is left: %w", err)
	}
	now, err := l.Take(ctx)
	if err != nil {
		return nil, err
	}
	left := Inventory{}
	for kind, names := range now {
		left[kind] = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(before[kind], name) })
	}
	return left, nil
}

// Expect has Leftovers take a thing, which the lab made after it came up, for its own.
func (l *Lab) Expect(kind, name string) error {
	before, err := readInventory(l.Dir)
	if err == nil {
		before[kind] = append(before[kind], name)
		err = before.save(l.Dir)
	}
	if err != nil {
		return fmt.Errorf("cannot note that %s is one of the lab's %s: %w", name, kind, err)
	}
	return nil
}

// Empty reports whether nothing is left.
func (i Inventory) Empty() bool {
	for _, names := range i {
		if len(names) > 0 {
			return false
		}
	}
	return true
}

// Take looks at everything that a charm in this lab could leave behind.
func (l *Lab) Take(ctx context.Context) (Inventory, error) {
	inventory := Inventory{}
	var problems []error
	note := func(kind string, names []string, err error) {
		slices.Sort(names)
		inventory[kind] = names
		if err != nil {
			problems = append(problems, fmt.Errorf("cannot list %s: %w", kind, err))
		}
	}

	list := l.listOpenStack
	if l.OnLXD() {
		list = l.listLXD
	}
	inCloud, err := list(ctx)
	if err != nil {
		return nil, err
	}
	for kind, names := range inCloud {
		note(kind, names, nil)
	}
	registrations, err := l.registrations(ctx)
	note("registrations", registrations, err)
	mounts, err := l.mounts()
	note("mounts", mounts, err)
	note("bridges", l.strayBridges(), nil)
	tables, err := l.strayTables(ctx)
	note("firewall tables", tables, err)
	note("loop devices", l.loops(), nil)
	left, err := processes(func(p proc) bool { return l.runsHook(p) || l.runsService(p) })
	note("processes", processNames(left), err)
	files, err := l.files()
	note("files", files, err)
	return inventory, errors.Join(problems...)
}

// listLXD lists what there is in the lab's LXD.
func (l *Lab) listLXD(ctx context.Context) (map[string][]string, error) {
	server, err := connectLXD(ctx, l.LXDSocket())
	if err != nil {
		return nil, err
	}
	defer server.Disconnect()
	all := make(map[string][]string)
	for kind, list := range lxdListings() {
		if all[kind], err = list(server); err != nil {
			return nil, fmt.Errorf("cannot list %s: %w", kind, err)
		}
	}
	return all, nil
}

// listOpenStack lists what there is in the project of the lab's OpenStack.
func (l *Lab) listOpenStack(ctx context.Context) (map[string][]string, error) {
	p, err := l.Project(ctx)
	if err != nil {
		return nil, err
	}
	return p.Names(ctx)
}

func lxdListings() map[string]func(lxd.InstanceServer) ([]string, error) {
	return map[string]func(lxd.InstanceServer) ([]string, error){
		"instances":     func(s lxd.InstanceServer) ([]string, error) { return s.GetInstanceNames(api.InstanceTypeAny) },
		"networks":      managedNetworks,
		"network ACLs":  func(s lxd.InstanceServer) ([]string, error) { return s.GetNetworkACLNames() },
		"profiles":      func(s lxd.InstanceServer) ([]string, error) { return s.GetProfileNames() },
		"storage pools": func(s lxd.InstanceServer) ([]string, error) { return s.GetStoragePoolNames() },
		"images":        func(s lxd.InstanceServer) ([]string, error) { return s.GetImageFingerprints() },
	}
}

func managedNetworks(server lxd.InstanceServer) ([]string, error) {
	networks, err := server.GetNetworks()
	var names []string
	for _, n := range networks {
		if n.Managed {
			names = append(names, n.Name)
		}
	}
	return names, err
}

func processNames(found []proc) []string {
	var names []string
	for _, p := range found {
		names = append(names, fmt.Sprintf("%d: %s", p.PID, p.Name))
	}
	return names
}

// strayBridges returns the machine's bridges that this lab may have made: all
// that no other LXD daemon keeps. Beside other labs, whose daemons tests restart,
// that can't be told, and only those that the lab's own daemon keeps are listed.
func (l *Lab) strayBridges() []string {
	paths, err := filepath.Glob("/sys/class/net/*/bridge")
	if err != nil || l.Cloud != CloudLXD {
		return nil
	}
	mine := l.mine()
	var names []string
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		// Another's may have gone since it was listed, together with its folder.
		if _, err := os.Stat(path); err == nil && mine(name) {
			names = append(names, name)
		}
	}
	return names
}

// mine returns a function that reports whether this lab may have made the bridge
// of a name.
func (l *Lab) mine() func(bridge string) bool {
	alone := l.Network != nil && l.Network.alone()
	own, others := l.bridges(), l.othersBridges()
	return func(bridge string) bool {
		return !slices.Contains(others, bridge) && (alone || slices.Contains(own, bridge))
	}
}

// strayTables returns the firewall's tables for bridges that this lab may have
// made.
func (l *Lab) strayTables(ctx context.Context) ([]string, error) {
	if l.Cloud != CloudLXD {
		return nil, nil
	}
	tables, err := firewallTables(ctx)
	mine := l.mine()
	return slices.DeleteFunc(tables, func(name string) bool { return !mine(name) }), err
}

func (l *Lab) othersBridges() []string {
	daemons, err := processes(func(p proc) bool {
		return len(p.args) > 0 && filepath.Base(p.args[0]) == "lxd"
	})
	if err != nil {
		return nil
	}
	var names []string
	for _, daemon := range daemons {
		for _, variable := range daemon.env {
			if dir, ok := strings.CutPrefix(variable, "LXD_DIR="); ok && dir != l.LXDDir {
				// As the daemon sees it: it may live in a root of its own.
				names = append(names, bridgesOf(fmt.Sprintf("/proc/%d/root%s", daemon.PID, dir))...)
			}
		}
	}
	return names
}

// files returns the files and empty folders below the charm's root, but its
// logs with their rotation and the folders that every machine has; and LXD's
// own per thing.
func (l *Lab) files() ([]string, error) {
	common := []string{".", "etc", "etc/logrotate.d", "etc/logrotate.d/github-runner-metrics", "var", "var/lib", "var/log"}
	var found []string
	err := filepath.WalkDir(l.Root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(l.Root, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "var/log/") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if slices.Contains(common, name) || entry.IsDir() && !isEmptyDir(path) {
			return nil
		}
		found = append(found, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{"containers", "virtual-machines", "disks", "networks", "storage-pools"} {
		paths, err := filepath.Glob(filepath.Join(l.LXDDir, folder, "*"))
		if err != nil {
			return nil, err
		}
		found = append(found, paths...)
	}
	return found, nil
}

func isEmptyDir(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}

func inventoryPath(dir string) string { return filepath.Join(dir, "before.json") }

func readInventory(dir string) (Inventory, error) {
	data, err := os.ReadFile(inventoryPath(dir))
	if err != nil {
		return nil, err
	}
	var inventory Inventory
	if err := json.Unmarshal(data, &inventory); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", inventoryPath(dir), err)
	}
	return inventory, nil
}

func (i Inventory) save(dir string) error {
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot store what was there before: %w", err)
	}
	return writeFile(inventoryPath(dir), append(data, '\n'))
}

func (l *Lab) registrations(ctx context.Context) ([]string, error) {
	runners, err := github.Dial(l.GitHubSocket()).Runners(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range runners {
		if !r.Removed {
			names = append(names, fmt.Sprintf("%s of %s (id %d)", r.Name, r.Scope, r.ID))
		}
	}
	return names, nil
}

// String is one sentence with a count for every kind that was looked for.
func (i Inventory) String() string {
	var counts []string
	total := 0
	for _, kind := range Kinds() {
		if _, looked := i[kind]; !looked {
			continue
		}
		counts = append(counts, fmt.Sprintf("%d %s", len(i[kind]), kind))
		total += len(i[kind])
	}
	sentence := "nothing is left: "
	if total > 0 {
		sentence = "left behind: "
	}
	return sentence + strings.Join(counts, ", ") + "."
}
