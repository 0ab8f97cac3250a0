package openstack

import (
	"context"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// GitHub refuses a runner application some 30 days after the next one came out.
const (
	// agedImage is when a person is told, with time left to act.
	agedImage = 20 * 24 * time.Hour
	// staleImage is when runners start from the stock image again, and download
	// today's application.
	staleImage = 28 * 24 * time.Hour
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
		if warning := c.ageWarning(age); warning != "" {
			warnings = append(warnings, warning)
		}
		if age < staleImage {
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

// ageWarning is what a person should know of an image that is so old; "": nothing.
func (c *Cloud) ageWarning(age time.Duration) string {
	days, command := age/(24*time.Hour), fmt.Sprintf("juju run %s build-image", c.config.Owner.Unit)
	switch {
	case age >= staleImage:
		return fmt.Sprintf("the runner image was made %d days ago, and GitHub refuses runner applications after about 30: runners start from the stock image %s until there is a new one: %s", days, c.config.Image, command)
	case age >= agedImage:
		return fmt.Sprintf("the runner image was made %d days ago, and GitHub refuses runner applications after about 30: %s", days, command)
	}
	return ""
}
