package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/unitdir"
)

// Images makes and keeps the unit's images in Glance. They are the unit's own: no
// other one starts runners from them.
type Images struct {
	cloud *Cloud
}

var _ image.Cloud = Images{}

// Images returns where the cloud's images are made.
func (c *Cloud) Images() Images {
	return Images{cloud: c}
}

// publishDeadline is for a large disk and a slow store.
const publishDeadline = 30 * time.Minute

// Properties of an image that was made, beside those that say whose it is.
const (
	propertyRecipe  = "github-runner.recipe"
	propertyBase    = "github-runner.base"
	propertyMade    = "github-runner.made"
	propertyVersion = "github-runner.runner-version"
	// propertyStock is what the option called the stock image.
	propertyStock = "github-runner.stock"
	// propertyUsed is when an image was put in use: the last one that was is the one
	// that runners start from.
	propertyUsed = "github-runner.used"
)

// imageName is what the unit's images are called, and its machine for images. It is no
// runner's name.
func (c Config) imageName() string {
	return c.Owner.Prefix() + "-image"
}

// Lock waits until nobody else makes an image for the unit, and returns how to let the
// next one do it. Waiting, which may be nil, is called where somebody does. Whoever
// uses the other methods holds the lock; the kernel frees that of a process that dies,
// and Prepare removes what it left.
func (i Images) Lock(ctx context.Context, waiting func()) (release func(), err error) {
	if i.cloud.config.ImageLock == "" {
		return nil, errors.New("cannot make images: there is no lock for it")
	}
	return unitdir.LockPath(ctx, i.cloud.config.ImageLock, waiting)
}

// Ready makes what one more machine needs, whether or not runners are wanted. The
// unit must be held.
func (i Images) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := i.cloud.session.open(ctx)
	if err != nil {
		return err
	}
	if _, err := i.cloud.findFlavor(ctx, in); err != nil {
		return err
	}
	if _, err := i.cloud.findNetwork(ctx, in); err != nil {
		return err
	}
	_, err = i.cloud.ensureGroup(ctx, in, true)
	return err
}

// Stock implements image.Cloud.
func (i Images) Stock(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := i.cloud.session.open(ctx)
	if err != nil {
		return "", err
	}
	return i.cloud.findStock(ctx, in)
}

// Publish implements image.Cloud. What was made after a lost answer has the unit's
// name, too, and goes with Clear.
func (i Images) Publish(ctx context.Context, about image.About) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, publishDeadline, fmt.Errorf("OpenStack had not made it within %v", publishDeadline))
	defer cancel()
	c := i.cloud
	in, err := c.session.open(ctx)
	if err != nil {
		return "", err
	}
	machines, err := c.imageMachines(ctx, in)
	if err != nil {
		return "", err
	}
	if len(machines) != 1 {
		return "", fmt.Errorf("cannot make an image of server %s: there are %d of that name", c.config.imageName(), len(machines))
	}
	id, err := servers.CreateImage(ctx, in.compute, machines[0].ID, servers.CreateImageOpts{
		Name: c.config.imageName(), Metadata: c.properties(about),
	}).ExtractImageID()
	if err != nil {
		return "", cannot(err, "make an image of server %s", c.config.imageName())
	}
	if err := i.awaitActive(ctx, id); err != nil {
		return "", fmt.Errorf("cannot make an image of server %s: %w", c.config.imageName(), err)
	}
	return id, nil
}

// awaitActive waits until Glance has all of an image. What Glance does not answer is
// asked again.
func (i Images) awaitActive(ctx context.Context, id string) error {
	pause := newPace()
	for {
		one, err := i.get(ctx, id)
		switch {
		case statusOf(err) == http.StatusNotFound:
			return errors.New("OpenStack has given it up: the image is gone again")
		case err != nil:
			i.cloud.log.WithError(classify(err)).Debug("how far the image is can't be seen")
		case one.Status == images.ImageStatusActive:
			return nil
		case one.Status != images.ImageStatusQueued && one.Status != images.ImageStatusSaving:
			return fmt.Errorf("the status of image %s is %s", id, oneLine(string(one.Status)))
		}
		if ended := pause.wait(ctx); ended != nil {
			return errors.Join(ended, classify(err))
		}
	}
}

func (i Images) get(ctx context.Context, id string) (*images.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	in, err := i.cloud.session.open(ctx)
	if err != nil {
		return nil, err
	}
	return images.Get(ctx, in.image, id).Extract()
}

// properties mark an image as ours, and say what is known of it.
func (c *Cloud) properties(about image.About) map[string]string {
	return map[string]string{
		runner.MarkModel: c.config.Owner.ModelUUID,
		runner.MarkUnit:  c.config.Owner.Unit,
		propertyRecipe:   about.Recipe,
		propertyBase:     about.Base,
		propertyMade:     about.Made.UTC().Format(time.RFC3339),
		propertyVersion:  about.RunnerVersion,
		propertyStock:    c.config.Image,
	}
}

// property is one of an image's own; "" where it has none.
func property(one images.Image, key string) string {
	text, _ := one.Properties[key].(string)
	return text
}

// isMade reports whether an image is one that Publish made for the unit, and that
// nobody has given a name of their own.
func (c *Cloud) isMade(one images.Image) bool {
	owner := c.config.Owner
	return one.Name == c.config.imageName() && property(one, runner.MarkModel) == owner.ModelUUID && property(one, runner.MarkUnit) == owner.Unit &&
		property(one, propertyRecipe) != ""
}

// made are the images that Publish made: first those that were put in use, the last
// one before all others.
func (c *Cloud) made(ctx context.Context, in services) ([]images.Image, error) {
	pages, err := images.List(in.image, images.ListOpts{Name: c.config.imageName()}).AllPages(ctx)
	if err != nil {
		return nil, cannot(err, "list the unit's images")
	}
	all, err := images.ExtractImages(pages)
	if err != nil {
		return nil, cannot(err, "read the unit's images")
	}
	all = slices.DeleteFunc(all, func(one images.Image) bool { return !c.isMade(one) })
	slices.SortStableFunc(all, func(a, b images.Image) int { return usedAt(b).Compare(usedAt(a)) })
	return all, nil
}

// usedAt is when an image was put in use; zero: never.
func usedAt(one images.Image) time.Time {
	at, err := time.Parse(time.RFC3339Nano, property(one, propertyUsed))
	if err != nil {
		return time.Time{}
	}
	return at
}

// Use implements image.Cloud by one change of one image: there is no moment at which
// none is in use, or two are.
func (i Images) Use(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	c := i.cloud
	in, err := c.session.open(ctx)
	if err != nil {
		return err
	}
	all, err := c.made(ctx, in)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(one images.Image) bool { return one.ID == id }) {
		return fmt.Errorf("cannot use image %s: it is none that was made for unit %s", id, c.config.Owner.Unit)
	}
	now := time.Now()
	if last := usedAt(all[0]); !now.After(last) {
		now = last.Add(time.Millisecond) // the clock was put back
	}
	change := images.UpdateImageProperty{Op: images.AddOp, Name: propertyUsed, Value: now.UTC().Format(time.RFC3339Nano)}
	return cannot(images.Update(ctx, in.image, id, images.UpdateOpts{change}).Err, "put image %s in use", id)
}

// Current implements image.Cloud.
func (i Images) Current(ctx context.Context) (image.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := i.cloud.session.open(ctx)
	if err != nil {
		return image.Image{}, err
	}
	flavor, err := i.cloud.findFlavor(ctx, in)
	if err != nil {
		return image.Image{}, err
	}
	all, err := i.cloud.made(ctx, in)
	if err != nil {
		return image.Image{}, err
	}
	one, ok := i.cloud.inUse(all, flavor)
	if !ok {
		return image.Image{}, nil
	}
	return image.Image{Fingerprint: one.ID, About: image.About{
		Recipe:        property(one, propertyRecipe),
		Base:          property(one, propertyBase),
		RunnerVersion: property(one, propertyVersion),
		Made:          madeAt(one),
	}}, nil
}

// Retire deletes the unit's images.
func (i Images) Retire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := i.cloud.session.open(ctx)
	if err != nil {
		return err
	}
	return i.cloud.deleteImages(ctx, in, 0)
}

// keptImages are the one in use and the one before.
const keptImages = 2

// deleteImages deletes the images that were made, but for so many of those that were
// put in use, and those that somebody has protected.
func (c *Cloud) deleteImages(ctx context.Context, in services, kept int) error {
	all, err := c.made(ctx, in)
	if err != nil {
		return err
	}
	var failures []error
	for at, one := range all {
		if at < kept && !usedAt(one).IsZero() || one.Protected {
			continue
		}
		err := ignoreMissing(images.Delete(ctx, in.image, one.ID).ExtractErr())
		if isInUse(err) {
			c.log.WithField("image", one.ID).Info("an image stays while a server's disk depends on it")
			continue
		}
		if err != nil {
			failures = append(failures, cannot(err, "delete the image %s", one.ID))
			continue
		}
		c.log.WithField("image", one.ID).Info("an image that nobody uses was deleted")
	}
	return errors.Join(failures...)
}

// isInUse reports whether Glance refused to delete an image because disks are made
// of it in the store that they share.
func isInUse(err error) bool {
	answer, _ := answered(err)
	return answer.Actual == http.StatusConflict && strings.Contains(strings.ToLower(string(answer.Body)), "in use")
}
