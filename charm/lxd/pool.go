package lxd

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// sharedPool belongs to all units of the machine.
const sharedPool = "github-runner"

// drivers are LXD's storage drivers that runners profit from, the fastest first:
// the first two copy an image in no time.
var drivers = []string{"btrfs", "zfs", "dir"}

// smallestPool is the least free space that a shared pool in a file of its own is
// worth making for.
const smallestPool = 5 << 30

// The ends of the names of pools that are a unit's own.
const (
	memorySuffix  = "-memory"
	storageSuffix = "-storage"
)

// poolName is where the configured storage is.
func (c *Cloud) poolName() string {
	switch {
	case c.config.StorageKind == MemoryStorage:
		return c.config.unitName() + memorySuffix
	case c.config.StoragePath != "":
		return c.config.unitName() + storageSuffix
	}
	return sharedPool
}

// ensurePool makes the pool if it is not there or was lost, refuses to leave one
// of another kind while runners live on it, and removes those of the unit that
// are empty. It returns what a person should know of the storage all the same.
func (c *Cloud) ensurePool(server server, count int) (warnings []string, err error) {
	pools, err := server.GetStoragePools()
	if err != nil {
		return nil, cannot(err, "list LXD's storage pools")
	}
	var found *api.StoragePool
	for i, pool := range pools {
		if pool.Name == c.poolName() {
			found = &pools[i]
		}
	}
	if warnings, err = c.checkSpace(server, count, found); err != nil {
		return nil, err
	}
	if err := c.leavePools(server, pools); err != nil {
		return nil, err
	}
	if found != nil {
		kept, err := c.keepPool(server, *found)
		if err != nil {
			return nil, err
		}
		if kept {
			return warnings, c.fitPool(found, count)
		}
	}
	return warnings, c.createPool(server, count)
}

// supportedDrivers are the storage drivers that LXD can use on this machine.
func supportedDrivers(server server) ([]string, error) {
	info, _, err := server.GetServer()
	if err != nil {
		return nil, cannot(err, "ask LXD for its storage drivers")
	}
	var names []string
	for _, driver := range info.Environment.StorageSupportedDrivers {
		names = append(names, driver.Name)
	}
	return names, nil
}

// fitPool gives the memory of a pool that exists the size for so many runners,
// those included that are there beyond what is wanted, and for a machine for images.
func (c *Cloud) fitPool(pool *api.StoragePool, count int) error {
	if c.config.StorageKind != MemoryStorage {
		return nil
	}
	count = max(count, len(c.runnersOn(*pool)))
	if c.hasImageMachine(*pool) {
		count++
	}
	return c.fitMemory(count)
}

// keepPool reports whether the configured pool can be used. One of the unit's own
// whose storage is not there any more, as after a restart of the machine, is
// removed with the dead runners on it: another one is made in its place.
func (c *Cloud) keepPool(server server, pool api.StoragePool) (kept bool, err error) {
	switch {
	case lost(pool):
	case pool.Status == api.StoragePoolStatusCreated:
		return true, nil
	case pool.Name == sharedPool:
		return false, runner.Trouble{
			Advice: fmt.Sprintf("LXD can't use its storage pool %s: bring %s back, or remove the pool by lxc storage delete %s", pool.Name, pool.Config["source"], pool.Name),
			Err:    fmt.Errorf("LXD shows it as %s", pool.Status),
		}
	}
	c.log.WithField("pool", pool.Name).Warn("the storage pool has lost what it was made on: it is made anew")
	if err := c.bury(server, pool); err != nil {
		return false, err
	}
	return false, c.deletePool(server, pool)
}

// lost reports whether a pool of the unit's own has no storage any more.
func lost(pool api.StoragePool) bool {
	_, err := os.Stat(pool.Config["source"])
	return pool.Name != sharedPool && errors.Is(err, fs.ErrNotExist)
}

// bury removes the dead runners on a pool that was lost, and the profiles for it:
// LXD would not remove the pool before. A runner that is not dead is left alone.
func (c *Cloud) bury(server server, pool api.StoragePool) error {
	for _, name := range c.runnersOn(pool) {
		instance, _, err := server.GetInstance(name)
		if ignoreMissing(err) != nil {
			return cannot(err, "look at instance %s", name)
		}
		if err == nil && instance.StatusCode != api.Stopped {
			return runner.Trouble{
				Advice: "the storage is gone from under running runners: it is made anew when they have ended, or after flush-runners mode=flush-busy",
				Err:    fmt.Errorf("storage pool %s still holds %s", pool.Name, name),
			}
		}
		c.log.WithField("runner", name).Warn("the runner's disk is lost: removing it")
		if err := c.deleteInstance(server, name, c.isOurs); err != nil {
			return fmt.Errorf("cannot delete instance %s: %w", name, err)
		}
		if err := c.exchange(name).remove(); err != nil {
			return err
		}
	}
	for _, user := range pool.UsedBy {
		profile, ok := strings.CutPrefix(user, "/1.0/profiles/")
		if !ok || !c.config.ownedByUnit(profile) {
			continue
		}
		if err := server.change(http.MethodDelete, apiPath("profiles", profile), nil, ""); ignoreMissing(err) != nil {
			return cannot(err, "delete the profile %s", profile)
		}
	}
	return nil
}

// leavePools deals with all pools that are not the configured one.
func (c *Cloud) leavePools(server server, pools []api.StoragePool) error {
	inMemory := c.config.StorageKind == MemoryStorage
	for _, pool := range pools {
		inMemory = inMemory || pool.Name == c.config.unitName()+memorySuffix
		if pool.Name == c.poolName() {
			continue
		}
		if err := c.leavePool(server, pool); err != nil {
			return err
		}
	}
	if inMemory {
		return nil
	}
	// Memory without a pool: whoever mounted it was killed before there was one.
	return unmountMemory(c.memoryDir())
}

// leavePool deals with a pool that is not the configured one.
func (c *Cloud) leavePool(server server, pool api.StoragePool) error {
	if pool.Name != sharedPool && !c.config.ownedByUnit(pool.Name) {
		return nil
	}
	memory := strings.HasSuffix(pool.Name, memorySuffix)
	var runners []string
	if memory != (c.config.StorageKind == MemoryStorage) {
		var err error
		if runners, err = c.withoutForeign(server, c.runnersOn(pool)); err != nil {
			return err
		}
	}
	if len(runners) > 0 {
		return runner.Trouble{
			Advice: "runner-storage can't change while runners use the other storage: set it back, or flush the runners first",
			Err:    fmt.Errorf("storage pool %s holds %s", pool.Name, strings.Join(runners, ", ")),
		}
	}
	if pool.Name == sharedPool || inUse(pool) {
		return nil
	}
	return c.deletePool(server, pool)
}

// withoutForeign leaves out the instances that only have a name of ours.
func (c *Cloud) withoutForeign(server server, names []string) ([]string, error) {
	var own []string
	for _, name := range names {
		instance, _, err := server.GetInstance(name)
		if ignoreMissing(err) != nil {
			return nil, cannot(err, "look at instance %s", name)
		}
		if err == nil && c.isOurs(*instance) {
			own = append(own, name)
		}
	}
	return own, nil
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

// hasImageMachine reports whether the unit's machine for images is on a pool.
func (c *Cloud) hasImageMachine(pool api.StoragePool) bool {
	return slices.ContainsFunc(pool.UsedBy, func(user string) bool {
		user, _, _ = strings.Cut(user, "?")
		return user == "/1.0/instances/"+c.config.imageMachine()
	})
}

// inUse reports whether anything but unpacked images is on a pool: these are a
// cache, and LXD removes them together with the pool.
func inUse(pool api.StoragePool) bool {
	return slices.ContainsFunc(pool.UsedBy, func(user string) bool { return !strings.HasPrefix(user, "/1.0/images/") })
}

// createPool makes the pool and reads it back. What was made for one that could
// not be is taken back. Another unit may make the shared one at the same time:
// then it is as good as ours.
func (c *Cloud) createPool(server server, count int) error {
	request, err := c.newPool(server, count)
	if err == nil {
		err = c.requestPool(server, request)
	}
	if err == nil || request.Name == sharedPool {
		return err
	}
	if _, _, missing := server.GetStoragePool(request.Name); !errors.Is(classify(missing), runner.ErrNotFound) {
		return err // it may be there: its storage stays
	}
	return errors.Join(err, c.clearGround(request.Name, c.ground()))
}

func (c *Cloud) requestPool(server server, request api.StoragePoolsPost) error {
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

// newPool decides what the pool is made of, and makes what it is made on. The
// name is right beside an error, too.
func (c *Cloud) newPool(server server, count int) (api.StoragePoolsPost, error) {
	request := api.StoragePoolsPost{Name: c.poolName(), StoragePoolPut: api.StoragePoolPut{Config: map[string]string{}}}
	supported, err := supportedDrivers(server)
	if err != nil {
		return request, err
	}
	if request.Name == sharedPool {
		request.Description = "Runners of this machine's units"
		return request, c.chooseDriver(supported, &request)
	}
	request.Description = "Runners of " + c.config.Owner.Unit
	if c.config.StorageKind == MemoryStorage {
		if err := c.fitMemory(count); err != nil {
			return request, err
		}
	}
	request.Config["source"] = c.ground().source()
	request.Driver, err = c.ground().prepare(server.ctx, slices.Contains(supported, "btrfs"), func(err error) {
		c.log.WithError(err).Info("the storage holds plain folders, without clones and bounds: no file system could be made on it")
	})
	if err != nil || request.Driver != "dir" {
		return request, err
	}
	// No file system may have been made after all, and copies need more than clones.
	made := &api.StoragePool{Name: request.Name, Driver: request.Driver, Config: request.Config}
	_, err = c.checkSpace(server, count, made)
	return request, err
}

// chooseDriver takes the fastest driver that the host has. Pools in a file are
// sparse: they take the space that is used, up to three quarters of what is free.
func (c *Cloud) chooseDriver(supported []string, request *api.StoragePoolsPost) error {
	host, err := spaceAt(filepath.Dir(c.config.socket()))
	if err != nil {
		return fmt.Errorf("cannot find out how much space LXD has: %w", err)
	}
	size := host.free / 4 * 3
	for _, driver := range drivers {
		if !slices.Contains(supported, driver) || driver != "dir" && size < smallestPool {
			continue
		}
		request.Driver = driver
		if driver != "dir" {
			request.Config["size"] = bytesOf(size)
		}
		return nil
	}
	return fmt.Errorf("cannot create the storage pool %s: LXD supports none of the drivers %s", request.Name, strings.Join(drivers, ", "))
}

// deletePool deletes a pool, and what it was made on where that is the unit's.
func (c *Cloud) deletePool(server server, pool api.StoragePool) error {
	if err := server.change(http.MethodDelete, apiPath("storage-pools", pool.Name), nil, ""); ignoreMissing(err) != nil {
		return cannot(err, "delete the storage pool %s", pool.Name)
	}
	if pool.Name == sharedPool {
		return nil
	}
	g, ok := groundOf(pool.Config["source"])
	if !ok {
		g = ground{}
	}
	return c.clearGround(pool.Name, g)
}

// clearGround gives back what a pool of the unit's own was made on.
func (c *Cloud) clearGround(name string, g ground) error {
	if strings.HasSuffix(name, memorySuffix) {
		return unmountMemory(c.memoryDir())
	}
	if g.folder == "" {
		return nil
	}
	return g.clear()
}
