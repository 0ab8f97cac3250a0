package lxd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/pattern"
	"github-runner/charm/runner"
)

// SentImage is the image that another application names, by the relation image, for
// the runners to start from. The zero value is that of a unit without the relation.
type SentImage struct {
	// Integrated is set where there is the relation: no other image is used then.
	Integrated bool
	// Application is the other one; "" where it has no unit yet.
	Application string
	// ID is a fingerprint, the beginning of one, or an alias; "" where none was sent.
	ID string
	// Refused is set where none was sent but what can't be one.
	Refused bool
}

// sender is what a person knows the other application by.
func (s SentImage) sender() string {
	return cmp.Or(s.Application, "the other application")
}

// fingerprintStart is a fingerprint, or enough of one to be no accident.
var fingerprintStart = pattern.Between(12, 64, `^[0-9a-f]+$`)

// findSent returns the fingerprint of the image that was sent. Where no runner is
// wanted, none is needed: "".
func (c *Cloud) findSent(server server, count int) (fingerprint string, err error) {
	fingerprint, err = c.lookUpSent(server)
	var trouble runner.Trouble
	if count == 0 && errors.As(err, &trouble) {
		return "", nil
	}
	return fingerprint, err
}

func (c *Cloud) lookUpSent(server server) (string, error) {
	sent := c.config.Sent
	switch {
	case sent.Refused:
		return "", c.noImage(fmt.Errorf("what %s sends by the relation image is %w", sent.sender(), runner.ErrInvalid))
	case sent.ID == "":
		return "", c.noImage(fmt.Errorf("the one that %s sends by the relation image is %w", sent.sender(), runner.ErrPending))
	}
	images, err := server.GetImages()
	if err != nil {
		return "", cannot(err, "list LXD's images")
	}
	found := imagesCalled(images, sent.ID)
	if len(found) != 1 {
		return "", c.noSuchImage(len(found))
	}
	wanted := architectures[c.config.Arch]
	switch image := found[0]; {
	case image.Type != c.config.InstanceType:
		return "", c.wrongImage(image.Type, c.config.InstanceType)
	case c.config.Arch != "" && image.Architecture != wanted:
		return "", c.wrongImage(image.Architecture, wanted)
	default:
		return image.Fingerprint, nil
	}
}

// imagesCalled are the images that an id may mean: that of the alias, or those whose
// fingerprints begin so.
func imagesCalled(images []api.Image, id string) []api.Image {
	var found []api.Image
	for _, image := range images {
		if slices.ContainsFunc(image.Aliases, func(a api.ImageAlias) bool { return a.Name == id }) {
			return []api.Image{image}
		}
		if fingerprintStart.Matches(id) && strings.HasPrefix(image.Fingerprint, id) {
			found = append(found, image)
		}
	}
	return found
}

func (c *Cloud) noImage(err error) error {
	return runner.Trouble{Advice: "no image for the runners", Err: err}
}

// noSuchImage says what to do where LXD has not one image that the id means but so many.
func (c *Cloud) noSuchImage(found int) error {
	sent := c.config.Sent
	if found > 1 {
		return c.noImage(fmt.Errorf("%d of LXD's images begin with %s, which %s sends by the relation image: send all of the fingerprint", found, sent.ID, sent.sender()))
	}
	return c.noImage(fmt.Errorf("LXD has none called %s, which %s sends by the relation image; on the unit's machine: %s", sent.ID, sent.sender(), c.importCommand(sent.ID)))
}

// wrongImage says what to do where the image is for others than this unit's runners.
func (c *Cloud) wrongImage(is, wanted string) error {
	sent, source := c.config.Sent, c.config.Sent.ID
	if fingerprintStart.Matches(source) {
		source = "IMAGE" // that one stays what it is
	}
	return c.noImage(fmt.Errorf("%s, which %s sends by the relation image, is for %s, and the runners are %s: send one that fits; on the unit's machine: %s", sent.ID, sent.sender(), is, wanted, c.importCommand(source)))
}

// importCommand is what gets an image in the place of the one that was sent. With an
// alias it is not taken for one that nobody uses.
func (c *Cloud) importCommand(source string) string {
	alias := c.config.Sent.ID
	if fingerprintStart.Matches(alias) {
		alias = "NAME"
	}
	command := fmt.Sprintf("lxc image copy REMOTE:%s local: --alias %s", source, alias)
	if c.config.InstanceType == VirtualMachine {
		command += " --vm"
	}
	return command
}
