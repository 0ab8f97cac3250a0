package project

import (
	"context"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// kind is a kind of things that a charm can leave in a project.
type kind struct {
	name string
	list func(context.Context) ([]thing, error)
}

// thing is one of a kind.
type thing struct {
	// name tells it from others.
	name string
	// stays is set for what the project can't part with, or only sees.
	stays  bool
	remove func(context.Context) error
}

// serverKind is the kind that holds on to others.
const serverKind = "servers"

// defaultGroup is the security group that each project has.
const defaultGroup = "default"

// kinds are all kinds, in the order in which they are shown, and can be deleted; owner
// is the project's ID.
func (p *Project) kinds(owner string) []kind {
	return []kind{
		{serverKind, listing(servers.List(p.Compute, nil), servers.ExtractServers, func(v servers.Server) thing {
			return thing{name: Shown(v.Name, v.ID), remove: func(ctx context.Context) error { return servers.Delete(ctx, p.Compute, v.ID).ExtractErr() }}
		})},
		{"ports", listing(ports.List(p.Network, nil), ports.ExtractPorts, func(v ports.Port) thing {
			return thing{name: Shown(v.Name, v.ID), remove: func(ctx context.Context) error { return ports.Delete(ctx, p.Network, v.ID).ExtractErr() }}
		})},
		{"security groups", listing(groups.List(p.Network, groups.ListOpts{}), groups.ExtractGroups, func(v groups.SecGroup) thing {
			return thing{name: Shown(v.Name, v.ID), stays: v.Name == defaultGroup, remove: func(ctx context.Context) error { return groups.Delete(ctx, p.Network, v.ID).ExtractErr() }}
		})},
		{"images", listing(images.List(p.Image, nil), images.ExtractImages, func(v images.Image) thing {
			return thing{name: Shown(v.Name, v.ID), stays: v.Owner != owner, remove: func(ctx context.Context) error { return images.Delete(ctx, p.Image, v.ID).ExtractErr() }}
		})},
		{"floating IPs", listing(floatingips.List(p.Network, nil), floatingips.ExtractFloatingIPs, func(v floatingips.FloatingIP) thing {
			return thing{name: Shown(v.FloatingIP, v.ID), remove: func(ctx context.Context) error { return floatingips.Delete(ctx, p.Network, v.ID).ExtractErr() }}
		})},
		{"keypairs", listing(keypairs.List(p.Compute, nil), keypairs.ExtractKeyPairs, func(v keypairs.KeyPair) thing {
			return thing{name: v.Name, remove: func(ctx context.Context) error { return keypairs.Delete(ctx, p.Compute, v.Name, nil).ExtractErr() }}
		})},
	}
}

// listing lists things of a kind, each as describe has it.
func listing[T any](pager pagination.Pager, extract func(pagination.Page) ([]T, error), describe func(T) thing) func(context.Context) ([]thing, error) {
	return func(ctx context.Context) ([]thing, error) {
		all, err := every(ctx, pager, extract)
		found := make([]thing, 0, len(all))
		for _, one := range all {
			found = append(found, describe(one))
		}
		return found, err
	}
}
