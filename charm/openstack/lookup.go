package openstack

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"

	"github-runner/charm/runner"
)

// ground is what servers are made of, by ID.
type ground struct {
	flavor  string
	network string
	image   string
	group   string
	// warnings are for a person.
	warnings []string
}

// thing is something in OpenStack that an option names.
type thing struct {
	id, name string
}

// find looks up what the options name.
func (c *Cloud) find(ctx context.Context, in services) (found ground, err error) {
	flavor, err := c.findFlavor(ctx, in)
	if err == nil {
		found.flavor = flavor.ID
		found.image, found.warnings, err = c.findImage(ctx, in, flavor)
	}
	if err != nil && !errors.As(err, new(runner.Trouble)) {
		return ground{}, err
	}
	network, networkErr := c.findNetwork(ctx, in)
	if err := together(err, networkErr); err != nil {
		return ground{}, err
	}
	found.network = network
	return found, nil
}

// together is one error of two that a person must act on, so that both can be mended at
// once; else the first that there is.
func together(first, second error) error {
	var one, other runner.Trouble
	if errors.As(first, &one) && errors.As(second, &other) {
		return runner.Trouble{Advice: one.Advice + ", and " + other.Advice, Err: fmt.Errorf("%w; %w", one.Err, other.Err)}
	}
	if first != nil {
		return first
	}
	return second
}

// findFlavor reads all flavors: their IDs need not look like one, and a cloud has
// some dozens.
func (c *Cloud) findFlavor(ctx context.Context, in services) (flavors.Flavor, error) {
	pages, err := flavors.ListDetail(in.compute, nil).AllPages(ctx)
	if err != nil {
		return flavors.Flavor{}, cannot(err, "list the flavors of OpenStack")
	}
	all, err := flavors.ExtractFlavors(pages)
	if err != nil {
		return flavors.Flavor{}, cannot(err, "read the flavors of OpenStack")
	}
	there := make([]thing, 0, len(all))
	for _, one := range all {
		there = append(there, thing{one.ID, one.Name})
	}
	id, err := c.pick(optionFlavor, "flavor", c.config.Flavor, there, there)
	if err != nil {
		return flavors.Flavor{}, err
	}
	return all[slices.IndexFunc(all, func(one flavors.Flavor) bool { return one.ID == id })], nil
}

func (c *Cloud) findNetwork(ctx context.Context, in services) (string, error) {
	list := func(options networks.ListOpts) ([]thing, error) {
		pages, err := networks.List(in.network, options).AllPages(ctx)
		if err != nil {
			return nil, cannot(err, "list the networks of OpenStack")
		}
		all, err := networks.ExtractNetworks(pages)
		if err != nil {
			return nil, cannot(err, "read the networks of OpenStack")
		}
		there := make([]thing, 0, len(all))
		for _, one := range all {
			there = append(there, thing{one.ID, one.Name})
		}
		return there, nil
	}
	return c.lookUp(optionNetwork, "network", c.config.Network,
		func(id string) ([]thing, error) { return list(networks.ListOpts{ID: id}) },
		func(name string) ([]thing, error) { return list(networks.ListOpts{Name: name}) },
		func() ([]thing, error) { return list(networks.ListOpts{}) })
}

// findStock returns the image that the options name.
func (c *Cloud) findStock(ctx context.Context, in services) (string, error) {
	var seen []images.Image
	list := func(options images.ListOpts) ([]thing, error) {
		options.Status = images.ImageStatusActive
		pages, err := images.List(in.image, options).AllPages(ctx)
		if err != nil {
			return nil, cannot(err, "list the images of OpenStack")
		}
		all, err := images.ExtractImages(pages)
		if err != nil {
			return nil, cannot(err, "read the images of OpenStack")
		}
		there := make([]thing, 0, len(all))
		for _, one := range all {
			there = append(there, thing{one.ID, one.Name})
		}
		seen = append(seen, all...)
		return there, nil
	}
	id, err := c.lookUp(optionImage, "active image", c.config.Image,
		func(id string) ([]thing, error) { return list(images.ListOpts{ID: id}) },
		func(name string) ([]thing, error) { return list(images.ListOpts{Name: name}) },
		func() ([]thing, error) { return list(images.ListOpts{}) })
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(seen, func(one images.Image) bool { return one.ID == id })
	return id, c.checkArch(seen[at])
}

// propertyArch is the property of an image that says for which architecture it is.
const propertyArch = "architecture"

// architectures are Go's names of architectures by Glance's.
func architectures() map[string]string {
	return map[string]string{"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
}

// checkArch refuses an image that says that it is of another architecture.
func (c *Cloud) checkArch(image images.Image) error {
	told := property(image, propertyArch)
	if told == "" || c.config.Arch == "" || architectures()[told] == c.config.Arch {
		return nil
	}
	return runner.Trouble{
		Advice: fmt.Sprintf("set %s to an image of the architecture %s", optionImage, c.config.Arch),
		Err:    fmt.Errorf("%w: the image %s is of the architecture %s", runner.ErrInvalid, shown(thing{image.ID, image.Name}), oneLine(told)),
	}
}

// uuid is what IDs of images and networks look like.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$`)

// lookUp finds what an option names by as few calls as it takes.
func (c *Cloud) lookUp(option, kind, value string, byID, byName func(string) ([]thing, error), all func() ([]thing, error)) (string, error) {
	asks := []func(string) ([]thing, error){byName}
	if uuid.MatchString(value) {
		asks = append([]func(string) ([]thing, error){byID}, asks...)
	}
	for _, ask := range asks {
		found, err := ask(value)
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return c.pick(option, kind, value, found, nil)
		}
	}
	there, err := all()
	if err != nil {
		return "", err
	}
	return c.pick(option, kind, value, nil, there)
}

// pick is the one of several things that an option means: by ID, else by name. The
// error for none, or for several, says what there is.
func (c *Cloud) pick(option, kind, value string, among, all []thing) (string, error) {
	for _, by := range []func(thing) bool{
		func(one thing) bool { return one.id == value },
		func(one thing) bool { return one.name == value },
	} {
		var fits []thing
		for _, one := range among {
			if by(one) {
				fits = append(fits, one)
			}
		}
		switch len(fits) {
		case 0:
		case 1:
			return fits[0].id, nil
		default:
			return "", runner.Trouble{
				Advice: fmt.Sprintf("set %s to an ID", option),
				Err:    fmt.Errorf("%w: OpenStack has several of the name %q: %s", runner.ErrInvalid, value, listed(fits)),
			}
		}
	}
	return "", runner.Trouble{
		Advice: fmt.Sprintf("set %s to the name or ID of one that there is", option),
		Err:    fmt.Errorf("%w: OpenStack has no %s %q; it has %s", runner.ErrNotFound, kind, value, listed(all)),
	}
}

// maxListed is how many things an error lists.
const maxListed = 10

// listed are things for a person to choose from.
func listed(things []thing) string {
	if len(things) == 0 {
		return "none"
	}
	words := make([]string, 0, len(things))
	for _, one := range things {
		words = append(words, shown(one))
	}
	slices.Sort(words)
	if more := len(words) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:maxListed], ", "), more)
	}
	return strings.Join(words, ", ")
}

func shown(one thing) string {
	if one.name == "" || one.name == one.id {
		return oneLine(one.id)
	}
	return oneLine(one.name) + " (ID " + oneLine(one.id) + ")"
}
