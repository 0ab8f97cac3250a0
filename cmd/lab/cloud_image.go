package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/canonical/lxd/shared/api"
)

const (
	// newerImage asks for another image in the place of a type of instances.
	newerImage = "newer"
	// imageInstance is what a newer image is made of.
	imageInstance = "lab-newer-image"
)

// imageInfo is one image as "lab cloud images" prints it.
type imageInfo struct {
	// ID is its ID or fingerprint.
	ID string
	// Type is what instances of it are.
	Type string
	// Names are those that lead to it.
	Names       []string
	Description string
}

// cloudImages lists the images: ID, type, names, and what they say of themselves.
func cloudImages(ctx context.Context, t target, args []string) error {
	if len(args) != 0 {
		return usagef("it is: lab cloud images")
	}
	images, err := t.Images(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.env.Stdout, 0, 0, 2, ' ', 0)
	for _, image := range images {
		fmt.Fprintf(table, "%.12s\t%s\t%s\t%s\n", image.ID, image.Type, cmp.Or(strings.Join(image.Names, ","), "-"), image.Description)
	}
	return table.Flush()
}

// cloudImage lets a name lead to another image of the same release, as an operator
// does with the images of a public server: to the one for another type of instances,
// for an alias of LXD's leads to one image only, or to a newer one.
func cloudImage(ctx context.Context, t target, args []string) error {
	kinds := []string{string(api.InstanceTypeContainer), string(api.InstanceTypeVM), newerImage}
	if len(args) != 2 || !slices.Contains(kinds, args[1]) {
		return usagef("it is: lab cloud image ALIAS container|virtual-machine|newer")
	}
	name, kind := args[0], args[1]
	var next string
	var err error
	if on, isLXD := t.cloud.(lxdCloud); kind == newerImage {
		next, err = t.RenewImage(ctx, name)
	} else if isLXD {
		next, err = on.retypeImage(name, kind)
	} else {
		err = fmt.Errorf("cannot let %s lead to another image: servers of an OpenStack have one type", name)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(t.env.Stdout, "%s is %.12s\n", name, next)
	return nil
}

// Images implements cloud.
func (c lxdCloud) Images(context.Context) ([]imageInfo, error) {
	images, err := c.server.GetImages()
	if err != nil {
		return nil, fmt.Errorf("cannot list the images: %w", err)
	}
	infos := make([]imageInfo, 0, len(images))
	for _, image := range images {
		info := imageInfo{ID: image.Fingerprint, Type: image.Type, Description: image.Properties["description"]}
		for _, alias := range image.Aliases {
			info.Names = append(info.Names, alias.Name)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// RenewImage implements cloud.
func (c lxdCloud) RenewImage(ctx context.Context, name string) (fingerprint string, err error) {
	return c.moveAlias(name, func(current api.Image) (string, error) { return c.imageAfter(ctx, current) })
}

// retypeImage lets an alias lead to the image for a type of instances.
func (c lxdCloud) retypeImage(name, kind string) (fingerprint string, err error) {
	return c.moveAlias(name, func(current api.Image) (string, error) { return c.imageFor(kind, current) })
}

// moveAlias lets an alias lead to the image that next chooses after the current one.
func (c lxdCloud) moveAlias(name string, next func(current api.Image) (string, error)) (fingerprint string, err error) {
	entry, _, err := c.server.GetImageAlias(name)
	if err != nil {
		return "", fmt.Errorf("cannot look up the image %s: %w", name, err)
	}
	current, _, err := c.server.GetImage(entry.Target)
	if err != nil {
		return "", fmt.Errorf("cannot look up the image %s: %w", name, err)
	}
	fingerprint, err = next(*current)
	if err != nil {
		return "", fmt.Errorf("cannot let %s lead to another image: %w", name, err)
	}
	// In one step: somebody may look for the image just now.
	alias := api.ImageAliasesEntryPut{Description: entry.Description, Target: fingerprint}
	if err := c.server.UpdateImageAlias(name, alias, ""); err != nil {
		return "", fmt.Errorf("cannot name the image %s: %w", name, err)
	}
	return fingerprint, nil
}

// imageFor returns the fingerprint of the image of the same release for a type of
// instances.
func (c lxdCloud) imageFor(kind string, current api.Image) (string, error) {
	images, err := c.server.GetImages()
	if err != nil {
		return "", fmt.Errorf("cannot list the images: %w", err)
	}
	release := current.Properties["release"]
	for _, image := range images {
		if image.Type == kind && image.Properties["release"] == release {
			return image.Fingerprint, nil
		}
	}
	return "", fmt.Errorf("there is none of release %s for a %s", release, kind)
}

// imageAfter makes an image with the content of another, and returns its fingerprint.
func (c lxdCloud) imageAfter(ctx context.Context, current api.Image) (fingerprint string, err error) {
	pools, err := c.server.GetStoragePoolNames()
	if err == nil && len(pools) == 0 {
		err = errors.New("there is none, deploy the charm first")
	}
	if err != nil {
		return "", fmt.Errorf("cannot find a storage pool: %w", err)
	}
	operation, err := c.server.CreateInstance(api.InstancesPost{
		Name: imageInstance, Type: api.InstanceType(current.Type),
		Source: api.InstanceSource{Type: "image", Fingerprint: current.Fingerprint},
		InstancePut: api.InstancePut{
			Profiles: []string{},
			Devices:  map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": pools[0]}},
		},
	})
	if err := c.await(ctx, operation, err); err != nil {
		return "", fmt.Errorf("cannot make an instance of it: %w", err)
	}
	defer func() { err = errors.Join(err, c.Delete(context.WithoutCancel(ctx), imageInstance)) }()
	request := api.ImagesPost{
		ImagePut:             api.ImagePut{Properties: maps.Clone(current.Properties)},
		Source:               &api.ImagesPostSource{Type: "instance", Name: imageInstance},
		CompressionAlgorithm: "none",
	}
	request.Properties["serial"] = time.Now().UTC().Format("20060102T150405.000000000")
	operation, err = c.server.CreateImage(request, nil)
	if err := c.await(ctx, operation, err); err != nil {
		return "", fmt.Errorf("cannot make an image of an instance: %w", err)
	}
	fingerprint, _ = operation.Get().Metadata["fingerprint"].(string)
	if fingerprint == "" {
		return "", errors.New("cannot make an image of an instance: LXD does not say which it made")
	}
	return fingerprint, c.lab.Expect("images", fingerprint)
}
