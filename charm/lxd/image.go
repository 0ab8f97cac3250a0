package lxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/unitdir"
)

// Images makes and keeps images for runners in LXD. Those that were made are the
// machine's: its other units' runners start from them, too.
type Images struct {
	cloud *Cloud
}

var _ image.Cloud = Images{}

// Images returns where the cloud's images are made.
func (c *Cloud) Images() Images {
	return Images{cloud: c}
}

// publishDeadline is for a large disk on a slow one.
const publishDeadline = 15 * time.Minute

// Properties of an image that was made.
const (
	propertyRecipe  = "user.github-runner.recipe"
	propertyBase    = "user.github-runner.base"
	propertyMade    = "user.github-runner.made"
	propertyVersion = "user.github-runner.runner-version"
	// propertyDisk is how many bytes the disk of a virtual machine has at least.
	propertyDisk = "user.github-runner.disk"
)

// imageMachine is the name of the unit's machine for images, and of its exchange
// folder. It is no runner's name.
func (c Config) imageMachine() string {
	return c.unitName() + "-image"
}

// isImageMachine reports whether an instance is the unit's machine for images.
func (c *Cloud) isImageMachine(instance api.Instance) bool {
	owner := c.config.Owner
	return instance.Name == c.config.imageMachine() && instance.Config[keyModel] == owner.ModelUUID && instance.Config[keyUnit] == owner.Unit
}

// Lock waits until nobody on the machine makes an image, and returns how to let the
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
	c := i.cloud
	server, cancel, err := c.connect(ctx, createDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if c.config.InstanceType == VirtualMachine {
		if err := c.checkVirtualMachines(server); err != nil {
			return err
		}
	}
	if _, _, err := c.ensureIsolation(server, true); err != nil {
		return err
	}
	pool, _, err := server.GetStoragePool(c.poolName())
	if ignoreMissing(err) != nil {
		return cannot(err, "look at the storage pool %s", c.poolName())
	}
	count := 1
	if err == nil {
		count += len(c.runnersOn(*pool))
	}
	if _, err := c.ensurePool(server, count); err != nil {
		return err
	}
	return c.ensureProfile(server)
}

// Stock implements image.Cloud.
func (i Images) Stock(ctx context.Context) (string, error) {
	server, cancel, err := i.cloud.connect(ctx, callDeadline)
	if err != nil {
		return "", err
	}
	defer cancel()
	return i.cloud.findStock(server, 1)
}

// compressions are how an image is packed, the first that LXD can run. Of 2.2 GB of
// Ubuntu, LXD 5.0.2 on two processors made 690 MB in 37 s by zstd, and 743 MB in 139 s
// by gzip; faster settings of either saved nothing or made more of it, and unpacking
// took 40 s all the same. "" is what the operator chose, by default gzip.
var compressions = [...]string{"zstd", ""}

// unknownCompression is how LXD refuses a program that it does not have.
const unknownCompression = "Invalid compression algorithm"

// brokenPipe is what LXD says where its disk is full: of a program that packs it knows
// only that it has ended.
const brokenPipe = "signal: broken pipe"

// Publish implements image.Cloud.
func (i Images) Publish(ctx context.Context, about image.About) (string, error) {
	c := i.cloud
	server, cancel, err := c.connect(ctx, publishDeadline)
	if err != nil {
		return "", err
	}
	defer cancel()
	request := api.ImagesPost{
		ImagePut: api.ImagePut{Properties: c.properties(about)},
		Source:   &api.ImagesPostSource{Type: "instance", Name: c.config.imageMachine()},
	}
	var said map[string]any
	for _, request.CompressionAlgorithm = range compressions {
		said, err = server.perform(http.MethodPost, "/images", request, "")
		if err == nil || !strings.Contains(err.Error(), unknownCompression) {
			break
		}
	}
	if err != nil {
		err = cannot(err, "make an image of %s", c.config.imageMachine())
		if errors.Is(err, runner.ErrQuota) || strings.Contains(err.Error(), brokenPipe) {
			return "", runner.Trouble{Advice: c.roomForImages(), Err: err}
		}
		return "", err
	}
	fingerprint, _ := said["fingerprint"].(string)
	if fingerprint == "" {
		return "", fmt.Errorf("cannot make an image of %s: LXD does not say what it made", c.config.imageMachine())
	}
	return fingerprint, nil
}

// roomForImages is what a person can do where LXD has no room for an image.
func (c *Cloud) roomForImages() string {
	return "make room on the machine's disk: LXD keeps images in " + filepath.Join(filepath.Dir(c.config.socket()), "images")
}

func (c *Cloud) properties(about image.About) map[string]string {
	made := about.Made.UTC()
	properties := map[string]string{
		propertyRecipe:  about.Recipe,
		propertyBase:    about.Base,
		propertyMade:    made.Format(time.RFC3339),
		propertyVersion: about.RunnerVersion,
		"description":   fmt.Sprintf("GitHub runner %s on %s, made %s", about.RunnerVersion, c.config.ImageAlias, made.Format(time.DateOnly)),
	}
	if c.config.InstanceType == VirtualMachine {
		properties[propertyDisk] = strconv.FormatInt(c.config.imageDisk(), 10)
	}
	return properties
}

// imageDisk is the size of the disk of a machine for images, in bytes: a virtual
// machine's image has that size, and no runner with a smaller disk can start from it.
func (c Config) imageDisk() int64 {
	if c.InstanceType == VirtualMachine {
		return min(c.Disk, smallDisk)
	}
	return c.Disk
}

// smallDisk has room for what the recipe installs.
const smallDisk = 8 << 30

// isMade reports whether an image is one that Publish made, and that nobody has given a
// name of their own: no other is ever deleted.
func isMade(found api.Image) bool {
	own := slices.ContainsFunc(found.Aliases, func(a api.ImageAlias) bool { return !strings.HasPrefix(a.Name, aliasPrefix) })
	return found.Properties[propertyRecipe] != "" && !own
}

// madeAlias is the name that runners look for an image that was made by.
func (c *Cloud) madeAlias() string {
	if c.config.ImageVariant == "" {
		return c.plainAlias()
	}
	return c.plainAlias() + "-" + c.config.ImageVariant
}

// plainAlias is madeAlias without a variant.
func (c *Cloud) plainAlias() string {
	arch := c.config.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	return fmt.Sprintf("%s%s-%s-%s", aliasPrefix, c.config.ImageAlias, arch, c.config.InstanceType)
}

// aliasPrefix begins the aliases of all images that were made.
const aliasPrefix = "github-runner-"

// previousSuffix ends the alias of the image that was in use before.
const previousSuffix = "-previous"

// Use implements image.Cloud. The image before gets its alias first: whoever dies in
// between leaves the new one without any, and is seen to have left something.
func (i Images) Use(ctx context.Context, fingerprint string) error {
	c := i.cloud
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	alias := c.madeAlias()
	former, _, err := server.GetImageAliasType("", alias)
	if ignoreMissing(err) != nil {
		return cannot(err, "look up the image %s", alias)
	}
	if err == nil && former.Target != fingerprint {
		if err := server.point(alias+previousSuffix, former.Target, "The image that runners started from before"); err != nil {
			return err
		}
	}
	return server.point(alias, fingerprint, "The image that runners start from")
}

// point makes an alias that of an image, whether or not there is one.
func (s server) point(alias, fingerprint, description string) error {
	wanted := api.ImageAliasesEntryPut{Target: fingerprint, Description: description}
	err := s.change(http.MethodPut, apiPath("images", "aliases", alias), wanted, "")
	if errors.Is(err, runner.ErrNotFound) {
		request := api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{Name: alias, Target: fingerprint, Description: description}}
		err = s.change(http.MethodPost, "/images/aliases", request, "")
	}
	return cannot(err, "give an image the alias %s", alias)
}

// sweepImages deletes the images that were made and have no alias: those that are
// older than the one before, and what a process that was killed left; and stock images
// that were downloaded for an option that nobody has any more. Those of others
// that are too old for runners go with their aliases, such as the one that this unit had
// by other options. Only who has the lock may: the others' are without an alias, too,
// while they are tried.
func (c *Cloud) sweepImages(server server) error {
	alias := c.madeAlias()
	return c.deleteImages(server, func(found api.Image) bool {
		if isDownloaded(found) {
			return isUnused(found)
		}
		ours := slices.ContainsFunc(found.Aliases, func(a api.ImageAlias) bool { return a.Name == alias || a.Name == alias+previousSuffix })
		return len(found.Aliases) == 0 || !ours && time.Since(madeAt(found)) >= image.Stale
	})
}

// deleteImages deletes those of the images that were made or downloaded for units.
func (c *Cloud) deleteImages(server server, unwanted func(api.Image) bool) error {
	images, err := server.GetImages()
	if err != nil {
		return cannot(err, "list LXD's images")
	}
	for _, found := range images {
		if !isMade(found) && !isDownloaded(found) || !unwanted(found) {
			continue
		}
		if err := server.deleteImage(found.Fingerprint); err != nil {
			return err
		}
		c.log.WithField("image", found.Fingerprint).Info("an image that nobody uses was deleted: " + found.Properties["description"])
	}
	return nil
}

func (s server) deleteImage(fingerprint string) error {
	err := s.change(http.MethodDelete, apiPath("images", fingerprint), nil, "")
	return cannot(ignoreMissing(err), "delete the image %s", fingerprint)
}

// Current implements image.Cloud.
func (i Images) Current(ctx context.Context) (image.Image, error) {
	server, cancel, err := i.cloud.connect(ctx, callDeadline)
	if err != nil {
		return image.Image{}, err
	}
	defer cancel()
	found, err := i.cloud.findMade(server, i.cloud.madeAlias())
	if err != nil || found == nil {
		return image.Image{}, err
	}
	return image.Image{Fingerprint: found.Fingerprint, About: image.About{
		Recipe:        found.Properties[propertyRecipe],
		Base:          found.Properties[propertyBase],
		RunnerVersion: found.Properties[propertyVersion],
		Made:          madeAt(*found),
	}}, nil
}

// Retire deletes the images that were made and their stock images, with the last unit
// whose runners may start from them. It comes after Destroy: the unit's own network is gone by then, and of two
// units that leave at the same time one sees that it is the last.
func (i Images) Retire(ctx context.Context) error {
	c := i.cloud
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	networks, err := server.GetNetworks()
	if err != nil {
		return cannot(err, "list LXD's networks")
	}
	others := slices.ContainsFunc(networks, func(n api.Network) bool {
		return n.Managed && n.Name != c.config.unitName() && strings.HasPrefix(n.Name, networkPrefix)
	})
	if others {
		c.log.Info("images that were made for runners stay for the machine's other units")
		return nil
	}
	if err := c.deleteImages(server, func(api.Image) bool { return true }); err != nil {
		return err
	}
	return server.dropSources()
}

// dropSources takes the names of stock images from those that stay for an operator's
// name: LXD gives one that it has already another name, instead of downloading it.
func (s server) dropSources() error {
	images, err := s.GetImages()
	if err != nil {
		return cannot(err, "list LXD's images")
	}
	for _, found := range images {
		for _, alias := range found.Aliases {
			if !strings.HasPrefix(alias.Name, sourcePrefix) {
				continue
			}
			err := s.change(http.MethodDelete, apiPath("images", "aliases", alias.Name), nil, "")
			if ignoreMissing(err) != nil {
				return cannot(err, "delete the alias %s", alias.Name)
			}
		}
	}
	return nil
}
