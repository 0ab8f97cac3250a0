package lxd

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/canonical/lxd/shared/api"
	"golang.org/x/sys/unix"

	"github-runner/charm/runner"
)

// sharedPool belongs to all units of the machine.
const sharedPool = "github-runner"

// drivers are LXD's storage drivers that runners profit from, the fastest first:
// the first two copy an image in no time.
var drivers = []string{"btrfs", "zfs", "dir"}

// smallestPool is the least free space that a pool in a file of its own is worth
// making for.
const smallestPool = 5 << 30

// poolName is where the configured storage is.
func (c *Cloud) poolName() string {
	switch {
	case c.config.StorageKind == MemoryStorage:
		return c.config.unitName() + "-memory"
	case c.config.StoragePath != "":
		return c.config.unitName() + "-storage"
	}
	return sharedPool
}

// memoryDir is where a pool in memory is mounted.
func (c *Cloud) memoryDir() string {
	return filepath.Join(filepath.Dir(c.config.ExchangeDir), "memory")
}

// ensurePool makes the pool if it is not there, refuses to leave one of another
// kind while runners live on it, and removes those of the unit that are empty.
func (c *Cloud) ensurePool(server server, count int) error {
	if err := c.checkSpace(count); err != nil {
		return err
	}
	pools, err := server.GetStoragePools()
	if err != nil {
		return cannot(err, "list LXD's storage pools")
	}
	name, found := c.poolName(), false
	for _, pool := range pools {
		if pool.Name == name {
			found = true
			continue
		}
		if err := c.leavePool(server, pool); err != nil {
			return err
		}
	}
	if c.config.StorageKind == MemoryStorage {
		if err := mountMemory(c.memoryDir(), c.config.Disk*int64(max(count, 1))); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	if err := c.createPool(server); err != nil {
		return errors.Join(err, c.dropMemory(server))
	}
	return nil
}

// dropMemory gives the memory back that was mounted for a pool that could not be
// made. A pool that may be there keeps it.
func (c *Cloud) dropMemory(server server) error {
	if c.config.StorageKind != MemoryStorage {
		return nil
	}
	if _, _, err := server.GetStoragePool(c.poolName()); !errors.Is(classify(err), runner.ErrNotFound) {
		return nil
	}
	return unmountMemory(c.memoryDir())
}

// createPool makes the pool and reads it back. Another unit may make the shared
// one at the same time: then it is as good as ours.
func (c *Cloud) createPool(server server) error {
	request, err := c.newPool(server)
	if err != nil {
		return err
	}
	creation := server.change(http.MethodPost, "/storage-pools", request, "")
	pool, _, err := server.GetStoragePool(request.Name)
	if creation != nil && (err != nil || request.Name != sharedPool) {
		return cannot(creation, "create the storage pool %s with driver %s", request.Name, request.Driver)
	}
	if err != nil {
		return cannot(err, "read the storage pool %s back", request.Name)
	}
	if pool.Status != api.StoragePoolStatusCreated {
		return fmt.Errorf("cannot create the storage pool %s: LXD shows it as %s", request.Name, pool.Status)
	}
	return nil
}

// leavePool deals with a pool that is not the configured one.
func (c *Cloud) leavePool(server server, pool api.StoragePool) error {
	if pool.Name != sharedPool && !c.config.ownedByUnit(pool.Name) {
		return nil
	}
	runners := c.runnersOn(pool)
	memory := strings.HasSuffix(pool.Name, "-memory")
	if len(runners) > 0 && memory != (c.config.StorageKind == MemoryStorage) {
		return runner.Trouble{
			Advice: "runner-storage can't change while runners use the other storage: set it back, or flush the runners first",
			Err:    fmt.Errorf("storage pool %s holds %s", pool.Name, strings.Join(runners, ", ")),
		}
	}
	if pool.Name == sharedPool || inUse(pool) {
		return nil
	}
	return c.deletePool(server, pool.Name)
}

// runnersOn returns the names of the unit's instances on a pool.
func (c *Cloud) runnersOn(pool api.StoragePool) []string {
	var names []string
	for _, user := range pool.UsedBy {
		user, _, _ = strings.Cut(user, "?")
		if name := filepath.Base(user); strings.HasPrefix(user, "/1.0/instances/") && c.config.Owner.Owns(name) {
			names = append(names, name)
		}
	}
	return names
}

// inUse reports whether anything but unpacked images is on a pool: these are a
// cache, and LXD removes them together with the pool.
func inUse(pool api.StoragePool) bool {
	return slices.ContainsFunc(pool.UsedBy, func(user string) bool { return !strings.HasPrefix(user, "/1.0/images/") })
}

// newPool decides what the pool is made of.
func (c *Cloud) newPool(server server) (api.StoragePoolsPost, error) {
	request := api.StoragePoolsPost{Name: c.poolName(), Driver: "dir", StoragePoolPut: api.StoragePoolPut{Config: map[string]string{}}}
	if request.Name == sharedPool {
		request.Description = "Runners of this machine's units"
		return request, c.chooseDriver(server, &request)
	}
	request.Description = "Runners of " + c.config.Owner.Unit
	request.Config["source"] = c.config.StoragePath
	if c.config.StorageKind == MemoryStorage {
		request.Config["source"] = c.memoryDir()
	}
	return request, nil
}

// chooseDriver takes the fastest driver that the host has. Pools in a file are
// sparse: they take the space that is used, up to three quarters of what is free.
func (c *Cloud) chooseDriver(server server, request *api.StoragePoolsPost) error {
	info, _, err := server.GetServer()
	if err != nil {
		return cannot(err, "ask LXD for its storage drivers")
	}
	var space unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(c.config.socket()), &space); err != nil {
		return fmt.Errorf("cannot find out how much space LXD has: %w", err)
	}
	size := int64(space.Bavail) * space.Bsize / 4 * 3
	for _, driver := range drivers {
		supported := slices.ContainsFunc(info.Environment.StorageSupportedDrivers, func(d api.ServerStorageDriverInfo) bool { return d.Name == driver })
		if !supported || driver != "dir" && size < smallestPool {
			continue
		}
		request.Driver = driver
		if driver != "dir" {
			request.Config["size"] = strconv.FormatInt(size, 10) + "B"
		}
		return nil
	}
	return fmt.Errorf("cannot create the storage pool %s: LXD supports none of the drivers %s", request.Name, strings.Join(drivers, ", "))
}

func (c *Cloud) deletePool(server server, name string) error {
	if err := server.change(http.MethodDelete, apiPath("storage-pools", name), nil, ""); ignoreMissing(err) != nil {
		return cannot(err, "delete the storage pool %s", name)
	}
	if strings.HasSuffix(name, "-memory") {
		return unmountMemory(c.memoryDir())
	}
	return nil
}

// checkSpace refuses storage of the unit's own that could not hold the disks of
// all runners.
func (c *Cloud) checkSpace(count int) error {
	needed := c.config.Disk * int64(count)
	var total int64
	switch {
	case c.config.StorageKind == MemoryStorage:
		var machine unix.Sysinfo_t
		if err := unix.Sysinfo(&machine); err != nil {
			return fmt.Errorf("cannot find out how much memory this machine has: %w", err)
		}
		total = int64(machine.Totalram) * int64(machine.Unit)
	case c.config.StoragePath != "":
		var space unix.Statfs_t
		if err := unix.Statfs(c.config.StoragePath, &space); err != nil {
			return fmt.Errorf("cannot find out how much space the storage at %s has: %w", c.config.StoragePath, err)
		}
		total = int64(space.Blocks) * space.Bsize
	default:
		return nil
	}
	if needed <= total {
		return nil
	}
	return runner.Trouble{
		Advice: fmt.Sprintf("%d runners with disks of %d MiB need %d MiB of storage, there are %d MiB: lower virtual-machines or vm-disk", count, c.config.Disk>>20, needed>>20, total>>20),
	}
}
