package openstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github-runner/charm/runner"
)

// recheck is how often Destroy looks whether what was deleted is gone.
const recheck = time.Second

// Destroy implements runner.Cloud. Servers that are being deleted are waited for:
// the security group is in use until they are gone.
func (c *Cloud) Destroy(ctx context.Context) error {
	c.ground.forget()
	patience := time.NewTimer(workDeadline)
	defer patience.Stop()
	pause := time.NewTicker(recheck)
	defer pause.Stop()
	for {
		err := c.clear(ctx)
		if !errors.Is(err, errStillDeleting) {
			return err
		}
		select {
		case <-pause.C:
		case <-patience.C:
			return fmt.Errorf("cannot remove what runners needed: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("cannot remove what runners needed: %w", errors.Join(err, context.Cause(ctx)))
		}
	}
}

// errStillDeleting is the end of an attempt that came too early.
var errStillDeleting = fmt.Errorf("%w: OpenStack has not finished with the servers that were deleted", runner.ErrBusy)

// clear removes what Prepare made, unless a server of ours is there.
func (c *Cloud) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	left, err := c.List(ctx)
	if err != nil {
		return err
	}
	deleting := false
	for _, one := range left {
		switch {
		case one.Foreign:
		case one.Status == runner.StatusDeleting:
			deleting = true
		default:
			return fmt.Errorf("cannot remove what runners needed: %w: server %s exists", runner.ErrBusy, one.Name)
		}
	}
	if deleting {
		return errStillDeleting
	}
	if err := c.clearMachinesForImages(ctx); err != nil {
		return err
	}
	return c.clearGroups(ctx)
}

// clearMachinesForImages removes what makes an image still, and waits for its end:
// the security group is in use until then.
func (c *Cloud) clearMachinesForImages(ctx context.Context) error {
	in, err := c.session.open(ctx)
	if err != nil {
		return err
	}
	left, err := c.imageMachines(ctx, in)
	if err != nil || len(left) == 0 {
		return err
	}
	if err := c.clearMachines(ctx, in); err != nil {
		return err
	}
	return errStillDeleting
}

// clearGroups removes the unit's security groups, and the ports that servers which
// are gone have left in them.
func (c *Cloud) clearGroups(ctx context.Context) error {
	in, err := c.session.open(ctx)
	if err != nil {
		return err
	}
	mine, err := c.groups(ctx, in)
	if err != nil || len(mine) == 0 {
		return err
	}
	all, err := in.ports(ctx, ports.ListOpts{})
	if err != nil {
		return err
	}
	for _, group := range mine {
		if _, err := in.unplugLeft(ctx, all, group.ID); err != nil {
			return err
		}
		err := c.deleteGroup(ctx, in, group.ID)
		if errors.Is(err, runner.ErrBusy) {
			return fmt.Errorf("%w: %w", errStillDeleting, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
