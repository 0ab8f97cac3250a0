package openstack

import (
	"context"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

const (
	// sweepInterval is how often ports are looked for that nobody needs: until then they
	// cost an address and a part of the project's quota.
	sweepInterval = time.Hour
	// sweepAge is how old a port must be: Nova makes them for servers that may not have
	// been listed yet.
	sweepAge = 10 * time.Minute
)

// sweepPorts removes, now and then, the ports that servers which others deleted have
// left: where Neutron fails, Nova leaves them, and Delete was not there to see to it.
// Only those with the unit's security group are its own. What fails is tried again at
// the next time.
func (c *Cloud) sweepPorts(ctx context.Context, in services, group string) {
	seen := c.seen.Load()
	if group == "" || seen == nil || !c.sweepIsDue() {
		return
	}
	all, err := in.ports(ctx, ports.ListOpts{})
	alive := map[string]bool{}
	for _, one := range *seen {
		alive[one.ID] = true
	}
	// Of those that are left each costs a question, and there are a few at most.
	all = slices.DeleteFunc(all, func(one ports.Port) bool {
		return alive[one.DeviceID] || time.Since(one.CreatedAt) < sweepAge
	})
	removed := 0
	if err == nil {
		removed, err = in.unplugLeft(ctx, all, group)
	}
	if removed > 0 {
		c.log.WithField("ports", removed).Info("ports that servers which are gone had left were removed")
	}
	if err != nil {
		c.log.WithError(err).Warn("ports that servers which are gone have left stay for now")
	}
}

// sweepIsDue reports, once in each interval, that it has passed. A hook's process does
// not live that long: the resident agent sweeps.
func (c *Cloud) sweepIsDue() bool {
	last, now := c.swept.Load(), time.Now()
	return now.Sub(*last) >= sweepInterval && c.swept.CompareAndSwap(last, &now)
}
