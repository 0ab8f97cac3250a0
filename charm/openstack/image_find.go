package openstack

import (
	"context"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/image"
)

// findImage returns the image that runners start from: the one that was sent, one that
// was made for them, or the stock image.
func (c *Cloud) findImage(ctx context.Context, in services, flavor flavors.Flavor) (id string, warnings []string, err error) {
	if c.config.Sent.Integrated {
		id, err = c.findSent(ctx, in)
		return id, nil, err
	}
	all, err := c.made(ctx, in)
	if err != nil {
		return "", nil, err
	}
	if len(all) > 0 && usedAt(all[len(all)-1]).IsZero() {
		c.leftovers.Store(true)
	}
	one, ok := c.inUse(all, flavor)
	if ok {
		age := time.Since(madeAt(one))
		if warning := image.AgeWarning(age, c.config.Image, c.config.Owner.Unit); warning != "" {
			warnings = append(warnings, warning)
		}
		if age < image.Stale {
			return one.ID, warnings, nil
		}
	}
	id, err = c.findStock(ctx, in)
	return id, warnings, err
}

// inUse is the one of the unit's images that was last put in use, as far as runners
// can start from it: it was made from what the options name now, and fits the flavor.
func (c *Cloud) inUse(all []images.Image, flavor flavors.Flavor) (images.Image, bool) {
	for _, one := range all {
		fits := one.MinRAMMegabytes <= flavor.RAM && (flavor.Disk == 0 || one.MinDiskGigabytes <= flavor.Disk)
		if fits && one.Status == images.ImageStatusActive && !usedAt(one).IsZero() && property(one, propertyStock) == c.config.Image {
			return one, true
		}
	}
	return images.Image{}, false
}

// madeAt is when an image was made.
func madeAt(one images.Image) time.Time {
	at, err := time.Parse(time.RFC3339, property(one, propertyMade))
	if err != nil {
		return one.CreatedAt
	}
	return at
}
