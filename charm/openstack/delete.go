package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/runner"
)

// Delete implements runner.Cloud. It returns when Nova has taken the order: the
// server is listed as deleting until it is gone.
func (c *Cloud) Delete(ctx context.Context, name string) error {
	if !c.config.Owner.Owns(name) {
		return fmt.Errorf("cannot delete server %q: it is not one of unit %s", name, c.config.Owner.Unit)
	}
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := c.session.open(ctx)
	if err != nil {
		return err
	}
	found, err := in.named(ctx, name)
	if err != nil {
		return err
	}
	mine := slices.DeleteFunc(slices.Clone(found), func(one server) bool { return c.kinship(one) != runner.KinOurs })
	if len(mine) == 0 && len(found) > 0 {
		return fmt.Errorf("cannot delete server %s: it is not this unit's: somebody else made it", name)
	}
	var failures []error
	for _, one := range mine {
		failures = append(failures, c.deleteServer(ctx, in, one))
	}
	return errors.Join(failures...)
}

// deleteServer removes a server, with the ports and floating addresses that were its
// own. Nova removes its ports by itself, and leaves them where Neutron fails: who
// looks for them later can't tell whose they were.
func (c *Cloud) deleteServer(ctx context.Context, in services, one server) error {
	ports, err := in.portsOf(ctx, one.ID)
	if err != nil {
		return err
	}
	addresses, err := in.floatingOf(ctx, one, ports)
	if err != nil {
		return err
	}
	err = ignoreMissing(servers.Delete(ctx, in.compute, one.ID).ExtractErr())
	if statusOf(err) == http.StatusConflict {
		return runner.Trouble{
			Advice: fmt.Sprintf("unlock the server: openstack server unlock %s", one.ID),
			Err:    cannot(err, "delete server %s", one.Name),
		}
	}
	if err != nil {
		return cannot(err, "delete server %s", one.Name)
	}
	if err := in.release(ctx, addresses); err != nil {
		return err
	}
	return in.unplug(ctx, ports)
}
