package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/canonical/lxd/shared/api"
)

// cloudImages lists the images: fingerprint, type, aliases, and what they say of
// themselves.
func cloudImages(_ context.Context, c cloud, args []string) error {
	if len(args) != 0 {
		return usagef("it is: lab cloud images")
	}
	images, err := c.server.GetImages()
	if err != nil {
		return fmt.Errorf("cannot list the images: %w", err)
	}
	table := tabwriter.NewWriter(c.env.Stdout, 0, 0, 2, ' ', 0)
	for _, image := range images {
		var aliases []string
		for _, alias := range image.Aliases {
			aliases = append(aliases, alias.Name)
		}
		fmt.Fprintf(table, "%.12s\t%s\t%s\t%s\n", image.Fingerprint, image.Type, cmp.Or(strings.Join(aliases, ","), "-"), image.Properties["description"])
	}
	return table.Flush()
}

// cloudImage lets an alias lead to the image of the same release for another
// type of instances, as an operator does with the images of a public server: an
// alias leads to one image only.
func cloudImage(_ context.Context, c cloud, args []string) error {
	if len(args) != 2 {
		return usagef("it is: lab cloud image ALIAS container|virtual-machine")
	}
	name, kind := args[0], args[1]
	entry, _, err := c.server.GetImageAlias(name)
	if err != nil {
		return fmt.Errorf("cannot look up the image %s: %w", name, err)
	}
	current, _, err := c.server.GetImage(entry.Target)
	if err != nil {
		return fmt.Errorf("cannot look up the image %s: %w", name, err)
	}
	images, err := c.server.GetImages()
	if err != nil {
		return fmt.Errorf("cannot list the images: %w", err)
	}
	for _, image := range images {
		if image.Type != kind || image.Properties["release"] != current.Properties["release"] {
			continue
		}
		alias := api.ImageAliasesPost{}
		alias.Name, alias.Target = name, image.Fingerprint
		if err := c.server.DeleteImageAlias(name); err != nil {
			return fmt.Errorf("cannot free the alias %s: %w", name, err)
		}
		if err := c.server.CreateImageAlias(alias); err != nil {
			return fmt.Errorf("cannot name the image %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("cannot let %s be an image for a %s: there is none of release %s", name, kind, current.Properties["release"])
}
