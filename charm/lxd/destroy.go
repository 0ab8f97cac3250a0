package lxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// Destroy implements runner.Cloud. The machine's shared pool goes with the last
// unit that used it.
func (c *Cloud) Destroy(ctx context.Context) error {
	left, err := c.List(ctx)
	if err != nil {
		return err
	}
	for _, instance := range left {
		switch {
		case instance.Foreign:
		case instance.Status == runner.StatusTraces:
			if err := c.exchange(instance.Name).remove(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("cannot remove what runners needed: %w: instance %s exists", runner.ErrBusy, instance.Name)
		}
	}
	if err := c.Images().clearMachine(ctx); err != nil {
		return err
	}
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if err := c.destroyProfiles(server); err != nil {
		return err
	}
	c.dropAllRemains(ctx)
	name := c.config.unitName()
	if err := server.change(http.MethodDelete, apiPath("networks", name), nil, ""); ignoreMissing(err) != nil {
		return cannot(err, "delete the network %s", name)
	}
	if err := server.change(http.MethodDelete, apiPath("network-acls", name), nil, ""); ignoreMissing(err) != nil {
		return cannot(err, "delete the network ACL %s", name)
	}
	// Last of what closes the machine: a bridge that can't be deleted stays closed.
	if err := c.removeGuard(ctx); err != nil {
		return err
	}
	if err := c.destroyPools(server); err != nil {
		return err
	}
	// Without their pools, too: one of the two may have been made or removed alone.
	if err := unmountMemory(c.memoryDir()); err != nil {
		return err
	}
	if c.config.StoragePath != "" {
		if err := (ground{c.config.StoragePath}).clear(); err != nil {
			return err
		}
		// Where the unit was the Python charm's, its pool may have had to stay.
		if err := c.removeFormerPool(server, c.config.StoragePath); err != nil {
			return err
		}
	}
	if err := os.Remove(c.config.ExchangeDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.WithError(err).Warn("the folder for exchange with runners holds something else")
	}
	return nil
}

func (c *Cloud) destroyProfiles(server server) error {
	profiles, err := server.GetProfiles()
	if err != nil {
		return cannot(err, "list LXD's profiles")
	}
	for _, profile := range profiles {
		if !c.config.ownedByUnit(profile.Name) {
			continue
		}
		if err := server.change(http.MethodDelete, apiPath("profiles", profile.Name), nil, ""); ignoreMissing(err) != nil {
			return cannot(err, "delete the profile %s", profile.Name)
		}
	}
	return nil
}

func (c *Cloud) destroyPools(server server) error {
	pools, err := server.GetStoragePools()
	if err != nil {
		return cannot(err, "list LXD's storage pools")
	}
	for _, pool := range pools {
		if pool.Name == sharedPool && inUse(pool) || pool.Name != sharedPool && !c.config.ownedByUnit(pool.Name) {
			continue
		}
		if err := c.destroyPool(server, pool); err != nil {
			return err
		}
	}
	return nil
}

// The last units of a machine may remove the shared pool at the same time. LXD
// answers the second with whatever it misses just then, so that one tries again.
const (
	sharedPoolTries = 5
	sharedPoolPause = time.Second
)

// destroyPool deletes a pool. Another unit may start to use the shared one just
// now, or delete it, too: that is no failure.
func (c *Cloud) destroyPool(server server, pool api.StoragePool) error {
	for try := 1; ; try++ {
		err := c.deletePool(server, pool)
		if err == nil || pool.Name != sharedPool {
			return err
		}
		current, _, readErr := server.GetStoragePool(pool.Name)
		if ignoreMissing(readErr) == nil && (readErr != nil || inUse(*current)) {
			return nil
		}
		if try == sharedPoolTries || server.ctx.Err() != nil {
			return err
		}
		pause(server.ctx, sharedPoolPause)
	}
}
