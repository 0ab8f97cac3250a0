package lxd

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/canonical/lxd/shared/api"
	"golang.org/x/sys/unix"

	"github-runner/charm/runner"
)

// checkSpace refuses storage of the unit's own that is too small, and returns what
// is worth a warning. The pool that the machine's units share is never too small:
// it takes space when runners write, and is bounded by the machine's disk.
func (c *Cloud) checkSpace(server server, count int, pool *api.StoragePool) (warnings []string, err error) {
	switch {
	case count == 0:
		return nil, nil
	case c.config.StorageKind == MemoryStorage:
		return c.checkMemory(count)
	case c.config.StoragePath != "":
		return c.checkStorage(server, count, pool)
	}
	return nil, nil
}

// checkMemory compares with the machine's memory, of which nothing can be given
// twice.
func (c *Cloud) checkMemory(count int) (warnings []string, err error) {
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err != nil {
		return nil, fmt.Errorf("cannot find out how much memory this machine has: %w", err)
	}
	total, disks := int64(machine.Totalram)*int64(machine.Unit), c.memoryFor(count)
	if disks > total {
		return nil, runner.Trouble{Advice: fmt.Sprintf("%s %d MiB of storage, this machine has %d MiB of memory: lower virtual-machines or vm-disk, or set runner-storage=juju-storage", c.disks(count), disks>>20, total>>20)}
	}
	if all := disks + c.config.Memory*int64(count); all > total {
		warnings = append(warnings, fmt.Sprintf("disks and memory of %d runners may take %d MiB, this machine has %d MiB of memory: lower virtual-machines, vm-disk or vm-memory if it runs out", count, all>>20, total>>20))
	}
	return warnings, nil
}

// checkStorage compares with what Juju attached. Where runners share the image's
// blocks and take space only when they write, one disk has to fit, and that all
// of them together may not is worth a warning; where nothing keeps them from
// taking all, all have to.
func (c *Cloud) checkStorage(server server, count int, pool *api.StoragePool) (warnings []string, err error) {
	folder := c.config.StoragePath
	info, err := os.Stat(folder)
	if err != nil {
		return nil, storageTrouble(folder, err)
	}
	if !info.IsDir() {
		return nil, storageTrouble(folder, &os.PathError{Op: "use", Path: folder, Err: unix.ENOTDIR})
	}
	found, err := spaceAt(folder)
	if err != nil {
		return nil, storageTrouble(folder, err)
	}
	needed := c.config.Disk * int64(count)
	missing := fmt.Sprintf("%s %d MiB of storage, the storage at %s has %d MiB", c.disks(count), needed>>20, folder, found.total>>20)
	if needed <= found.total {
		return nil, nil
	}
	clones, err := c.clones(server, pool)
	if err != nil {
		return nil, err
	}
	if !clones || c.config.Disk > found.total {
		return nil, runner.Trouble{Advice: missing + ": lower virtual-machines or vm-disk, or attach a larger storage"}
	}
	return []string{missing + ": jobs that fill their disks will find no space"}, nil
}

// clones reports whether the driver of a pool makes runners as clones of the
// image; of one that is not there, or was lost, the driver that it would get.
func (c *Cloud) clones(server server, pool *api.StoragePool) (bool, error) {
	if pool != nil && !lost(*pool) {
		return pool.Driver != "dir", nil
	}
	supported, err := supportedDrivers(server)
	if err != nil {
		return false, err
	}
	plan, err := c.ground().plan(slices.Contains(supported, "btrfs"))
	return plan.driver != "dir", err
}

// disks begins a sentence on what so many runners need.
func (c *Cloud) disks(count int) string {
	if count == 1 {
		return fmt.Sprintf("1 runner with a disk of %d MiB needs", c.config.Disk>>20)
	}
	return fmt.Sprintf("%d runners with disks of %d MiB need", count, c.config.Disk>>20)
}

// explainFull adds to LXD's words for want of space what is full, and what to do.
func (c *Cloud) explainFull(server server, err error) error {
	switch words := strings.ToLower(err.Error()); {
	case strings.Contains(words, "disk quota exceeded"):
		return runner.Trouble{Advice: fmt.Sprintf("vm-disk of %d MiB is too small for the image %s: raise it", c.config.Disk>>20, c.config.ImageAlias), Err: err}
	case !strings.Contains(words, "no space left") && !strings.Contains(words, "out of disk space"):
		return err
	}
	advice := fmt.Sprintf("the storage pool %s is full", c.poolName())
	var resources api.ResourcesStoragePool
	response, _, asked := server.RawQuery(http.MethodGet, "/1.0"+apiPath("storage-pools", c.poolName(), "resources"), nil, "")
	if asked == nil {
		asked = response.MetadataAsStruct(&resources)
	}
	if asked == nil {
		advice += fmt.Sprintf(", %d of %d MiB are in use", resources.Space.Used>>20, resources.Space.Total>>20)
	}
	switch {
	case c.config.StorageKind == MemoryStorage:
		advice += ": lower virtual-machines or vm-disk"
	case c.config.StoragePath != "":
		advice += ": lower virtual-machines or vm-disk, or attach a larger storage"
	default:
		advice += ": lower virtual-machines or vm-disk, make room on the machine's disk, or attach the storage runner"
	}
	return runner.Trouble{Advice: advice, Err: err}
}

// inotifyPerContainer is what systemd and its services take in one of the
// containers of our tests.
const inotifyPerContainer = 9

// checkInotify warns of more containers than the kernel's limit has room for: to
// it they are all one user's.
func (c *Cloud) checkInotify(count int, proc string) []string {
	if c.config.InstanceType != Container {
		return nil
	}
	name := "fs.inotify.max_user_instances"
	content, err := os.ReadFile(filepath.Join(proc, "sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return nil // a kernel without inotify has no limit
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || count*inotifyPerContainer <= limit {
		return nil
	}
	return []string{fmt.Sprintf("%d containers take about %d inotify instances, and %s is %d: raise it on this machine, for instance to 8192, or runners will not start", count, count*inotifyPerContainer, name, limit)}
}

// space is what a file system has, in bytes.
type space struct {
	total, used, free int64
	kind              int64
}

// spaceAt looks at the file system of a folder. Free is what LXD, which is root,
// may count on: without what the file system keeps back.
func spaceAt(folder string) (space, error) {
	var found unix.Statfs_t
	if err := unix.Statfs(folder, &found); err != nil {
		return space{}, &os.PathError{Op: "look at", Path: folder, Err: err}
	}
	return space{
		total: int64(found.Blocks) * found.Bsize,
		used:  int64(found.Blocks-found.Bfree) * found.Bsize,
		free:  int64(found.Bavail) * found.Bsize,
		kind:  int64(found.Type),
	}, nil
}

// sameFileSystem reports whether two folders are on one file system.
func sameFileSystem(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return first.Sys().(*syscall.Stat_t).Dev == second.Sys().(*syscall.Stat_t).Dev, nil
}
