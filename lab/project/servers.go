package project

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"golang.org/x/sync/errgroup"
)

// Order is a server that is to be made. Flavor, Image and Network are names or IDs.
type Order struct {
	Name, Flavor, Image, Network string
}

// Servers returns all servers of the project.
func (p *Project) Servers(ctx context.Context) ([]servers.Server, error) {
	all, err := every(ctx, servers.List(p.Compute, nil), servers.ExtractServers)
	if err != nil {
		return nil, fmt.Errorf("cannot list the servers: %w", err)
	}
	return all, nil
}

// Server returns the only server of a name or ID.
func (p *Project) Server(ctx context.Context, name string) (servers.Server, error) {
	all, err := p.Servers(ctx)
	if err != nil {
		return servers.Server{}, err
	}
	return one("servers", name, all, func(v servers.Server) (string, string) { return v.Name, v.ID })
}

// Images returns all images that the project sees.
func (p *Project) Images(ctx context.Context) ([]images.Image, error) {
	all, err := every(ctx, images.List(p.Image, nil), images.ExtractImages)
	if err != nil {
		return nil, fmt.Errorf("cannot list the images: %w", err)
	}
	return all, nil
}

// Create orders a server, which has the project's default security group, and returns
// its ID. It does not wait for it.
func (p *Project) Create(ctx context.Context, order Order) (id string, err error) {
	ids, err := p.CreateAll(ctx, order, []string{order.Name}, 1)
	return ids[0], err
}

// CreateAll orders a server of each name like order, so many at the same time as
// parallel says, and returns their IDs, "" for one that was not made. It does not wait
// for them.
func (p *Project) CreateAll(ctx context.Context, order Order, names []string, parallel int) ([]string, error) {
	ids := make([]string, len(names))
	flavor, image, network, err := p.look(ctx, order)
	if err != nil {
		return ids, fmt.Errorf("cannot make the server %s: %w", strings.Join(names, ", "), err)
	}
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, name := range names {
		group.Go(func() error {
			made, err := servers.Create(ctx, p.Compute, servers.CreateOpts{
				Name: name, FlavorRef: flavor, ImageRef: image, Networks: []servers.Network{{UUID: network}},
			}, nil).Extract()
			if err != nil {
				return fmt.Errorf("cannot make the server %s: %w", name, err)
			}
			ids[i] = made.ID
			return nil
		})
	}
	return ids, group.Wait()
}

// look returns the IDs of what an order names.
func (p *Project) look(ctx context.Context, order Order) (flavor, image, network string, err error) {
	allFlavors, err := every(ctx, flavors.ListDetail(p.Compute, nil), flavors.ExtractFlavors)
	if err != nil {
		return "", "", "", fmt.Errorf("cannot list the flavors: %w", err)
	}
	oneFlavor, err := one("flavors", order.Flavor, allFlavors, func(v flavors.Flavor) (string, string) { return v.Name, v.ID })
	if err != nil {
		return "", "", "", err
	}
	allImages, err := p.Images(ctx)
	if err != nil {
		return "", "", "", err
	}
	oneImage, err := one("images", order.Image, allImages, func(v images.Image) (string, string) { return v.Name, v.ID })
	if err != nil {
		return "", "", "", err
	}
	allNetworks, err := every(ctx, networks.List(p.Network, nil), networks.ExtractNetworks)
	if err != nil {
		return "", "", "", fmt.Errorf("cannot list the networks: %w", err)
	}
	oneNetwork, err := one("networks", order.Network, allNetworks, func(v networks.Network) (string, string) { return v.Name, v.ID })
	return oneFlavor.ID, oneImage.ID, oneNetwork.ID, err
}

// Groups returns all security groups of the project, with their rules.
func (p *Project) Groups(ctx context.Context) ([]groups.SecGroup, error) {
	all, err := every(ctx, groups.List(p.Network, groups.ListOpts{}), groups.ExtractGroups)
	if err != nil {
		return nil, fmt.Errorf("cannot list the security groups: %w", err)
	}
	return all, nil
}

// OpenGroups lets everything in by the security groups of a name, or by all but the
// default one where the name is "". It returns the names of those that it opened.
func (p *Project) OpenGroups(ctx context.Context, name string) (opened []string, err error) {
	all, err := p.Groups(ctx)
	if err != nil {
		return nil, err
	}
	for _, group := range all {
		if name == "" && group.Name == defaultGroup || name != "" && name != group.Name && name != group.ID {
			continue
		}
		_, err := rules.Create(ctx, p.Network, rules.CreateOpts{
			SecGroupID: group.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, RemoteIPPrefix: "0.0.0.0/0",
		}).Extract()
		if err != nil {
			return opened, fmt.Errorf("cannot open the security group %s: %w", group.Name, err)
		}
		opened = append(opened, group.Name)
	}
	if len(opened) == 0 {
		return nil, fmt.Errorf("there is no security group %s", cmp.Or(name, "but the default one"))
	}
	return opened, nil
}
