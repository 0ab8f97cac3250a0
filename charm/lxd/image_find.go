package lxd

import (
	"errors"
	"strconv"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/image"
	"github-runner/charm/runner"
)

// architectures are LXD's names for Go's.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// otherType is what LXD's client says of an alias whose image is for the other
// kind of instances; it has no code for it.
const otherType = "Alias doesn't exist for the specified type"

// findImage returns the fingerprint of the image that runners start from: the one that
// was sent, one that was made for them, or the stock image. Where no runner is wanted
// none is needed: "".
func (c *Cloud) findImage(server server, count int) (fingerprint string, warnings []string, err error) {
	if c.config.InstanceType == VirtualMachine && count > 0 {
		if err := c.checkVirtualMachines(server); err != nil {
			return "", nil, err
		}
	}
	if c.config.Sent.Integrated {
		fingerprint, err = c.findSent(server, count)
		return fingerprint, nil, err
	}
	made, err := c.findMade(server, c.madeAlias())
	if made == nil && err == nil && c.config.PlainImage && c.config.ImageVariant != "" {
		made, err = c.findMade(server, c.plainAlias())
	}
	if err != nil {
		return "", nil, err
	}
	if made != nil && made.Properties[propertyRecipe] == "" {
		return made.Fingerprint, nil, nil // an operator's own, who knows what it is for
	}
	if made != nil {
		age := time.Since(madeAt(*made))
		if warning := image.AgeWarning(age, c.config.ImageAlias, c.config.Owner.Unit); warning != "" && count > 0 {
			warnings = append(warnings, warning)
		}
		if age < image.Stale {
			return made.Fingerprint, warnings, nil
		}
	}
	fingerprint, err = c.findStock(server, count)
	return fingerprint, warnings, err
}

// findMade returns the image that was made for runners, and has that alias; nil where
// there is none that they can start from.
func (c *Cloud) findMade(server server, alias string) (*api.Image, error) {
	target, err := server.aliased(c.config.InstanceType, alias)
	if err != nil || target == "" {
		return nil, err
	}
	made, _, err := server.GetImage(target)
	if err != nil {
		return nil, cannot(ignoreMissing(err), "look up the image %s", alias)
	}
	if c.config.Arch != "" && made.Architecture != architectures[c.config.Arch] {
		return nil, nil
	}
	if disk, _ := strconv.ParseInt(made.Properties[propertyDisk], 10, 64); disk > c.config.Disk {
		return nil, nil
	}
	return made, nil
}

// madeAt is when an image was made. One that was copied may not say it itself.
func madeAt(found api.Image) time.Time {
	made, err := time.Parse(time.RFC3339, found.Properties[propertyMade])
	if err != nil {
		return found.CreatedAt
	}
	return made
}

// aliased returns the fingerprint of the image of that kind with an alias; "" where
// there is none.
func (s server) aliased(kind, name string) (string, error) {
	alias, _, err := s.GetImageAliasType(kind, name)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) || err != nil && err.Error() == otherType {
		return "", nil
	}
	if err != nil {
		return "", cannot(err, "look up the image %s", name)
	}
	return alias.Target, nil
}
