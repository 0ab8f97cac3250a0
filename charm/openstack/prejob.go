package openstack

import (
	"context"
	"fmt"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// askAgain is after how long a runner that could not be asked is asked again.
const askAgain = 5 * time.Second

// PreJobDone implements runner.Cloud. A runner that can't be asked is waited for until
// it is gone.
func (c *Cloud) PreJobDone(ctx context.Context, name string) error {
	if !c.config.Owner.Owns(name) {
		return fmt.Errorf("cannot wait for the pre-job script of server %q: it is not one of unit %s", name, c.config.Owner.Unit)
	}
	pause := time.NewTicker(askAgain)
	defer pause.Stop()
	for {
		over, err := c.awaitPreJob(ctx, name)
		if over || err != nil {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitPreJob waits as long as the runner can be asked; over means that nothing is
// left to wait for.
func (c *Cloud) awaitPreJob(ctx context.Context, name string) (over bool, err error) {
	in, err := c.session.open(ctx)
	if err != nil {
		return false, err
	}
	one, found, err := c.own(ctx, in, name)
	if err != nil {
		return false, err
	}
	if !found || status(one) != runner.StatusRunning {
		return true, nil
	}
	address, ok := one.address()
	if c.config.Door == nil || !ok {
		return false, nil
	}
	err = c.config.Door.Await(ctx, name, address, exchangePath(cloudinit.PreJobDoneFile))
	if err != nil && ctx.Err() == nil {
		c.log.WithField("runner", name).WithError(err).Info("the pre-job script can't be waited for yet")
	}
	return err == nil, nil
}
