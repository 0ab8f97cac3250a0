package openstack

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/runner"
)

// SentImage is the image that another application names, by the relation image, for
// the runners to start from. The zero value is that of a unit without the relation.
type SentImage struct {
	// Integrated is set where there is the relation: no other image is used then.
	Integrated bool
	// Application is the other one; "" where it has no unit yet.
	Application string
	// ID is the image's ID or name; "" where none was sent.
	ID string
	// Refused is set where none was sent but what can't be one.
	Refused bool
}

// sender is what a person knows the other application by.
func (s SentImage) sender() string {
	return cmp.Or(s.Application, "the other application")
}

// findSent returns the ID of the image that was sent.
func (c *Cloud) findSent(ctx context.Context, in services) (string, error) {
	sent := c.config.Sent
	switch {
	case sent.Refused:
		return "", noImage(fmt.Errorf("what %s sends by the relation image is %w", sent.sender(), runner.ErrInvalid))
	case sent.ID == "":
		return "", noImage(fmt.Errorf("the one that %s sends by the relation image is %w", sent.sender(), runner.ErrPending))
	}
	found, err := c.called(ctx, in, sent.ID)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return "", noImage(fmt.Errorf("OpenStack has none called %s that the project sees, which %s sends by the relation image: share it with the project, or send another", sent.ID, sent.sender()))
	case 1:
		return found[0].ID, c.checkSent(found[0])
	}
	return "", noImage(fmt.Errorf("OpenStack has %d images called %s, which %s sends by the relation image: send an ID", len(found), sent.ID, sent.sender()))
}

// called are the images of an ID, or else those of a name.
func (c *Cloud) called(ctx context.Context, in services, id string) ([]images.Image, error) {
	asks := []images.ListOpts{{Name: id}}
	if uuid.MatchString(id) {
		asks = slices.Insert(asks, 0, images.ListOpts{ID: id})
	}
	for _, ask := range asks {
		pages, err := images.List(in.image, ask).AllPages(ctx)
		if err != nil {
			return nil, cannot(err, "look up the image %s", id)
		}
		found, err := images.ExtractImages(pages)
		if err != nil {
			return nil, cannot(err, "read the image %s", id)
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

// checkSent says why runners can't start from the image that was sent.
func (c *Cloud) checkSent(one images.Image) error {
	sent := c.config.Sent
	switch one.Status {
	case images.ImageStatusActive:
	case images.ImageStatusQueued, images.ImageStatusSaving, images.ImageStatusImporting:
		return noImage(fmt.Errorf("%s, which %s sends by the relation image, is %w: its status is %s", sent.ID, sent.sender(), runner.ErrPending, one.Status))
	default:
		return noImage(fmt.Errorf("%s, which %s sends by the relation image, can't be used: its status is %s", sent.ID, sent.sender(), oneLine(string(one.Status))))
	}
	is := property(one, propertyArch)
	if is == "" || c.config.Arch == "" || architectures()[is] == c.config.Arch {
		return nil
	}
	return noImage(fmt.Errorf("%s, which %s sends by the relation image, is for %s, and the runners are %s: send one that fits", sent.ID, sent.sender(), oneLine(is), c.config.Arch))
}

func noImage(err error) error {
	return runner.Trouble{Advice: "no image for the runners", Err: err}
}
