package openstack

import (
	"context"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

// portsOf are the ports of a server.
func (in services) portsOf(ctx context.Context, serverID string) ([]ports.Port, error) {
	return in.ports(ctx, ports.ListOpts{DeviceID: serverID})
}

func (in services) ports(ctx context.Context, options ports.ListOpts) ([]ports.Port, error) {
	pages, err := ports.List(in.network, options).AllPages(ctx)
	if err != nil {
		return nil, cannot(err, "list the ports of OpenStack")
	}
	found, err := ports.ExtractPorts(pages)
	if err != nil {
		return nil, cannot(err, "read the ports of OpenStack")
	}
	return found, nil
}

// unplug removes ports.
func (in services) unplug(ctx context.Context, left []ports.Port) error {
	for _, one := range left {
		if err := ignoreMissing(ports.Delete(ctx, in.network, one.ID).ExtractErr()); err != nil {
			return cannot(err, "remove the port %s", one.ID)
		}
	}
	return nil
}

// unplugLeft removes the ports that Nova made for servers which are gone, as far as
// they have a security group, and returns how many. Somebody may have put servers of
// their own into it.
func (in services) unplugLeft(ctx context.Context, all []ports.Port, group string) (removed int, err error) {
	for _, one := range all {
		if !slices.Contains(one.SecurityGroups, group) || !strings.HasPrefix(one.DeviceOwner, "compute:") {
			continue
		}
		if one.DeviceID != "" {
			err := servers.Get(ctx, in.compute, one.DeviceID).Err
			if err == nil {
				continue
			}
			if err := ignoreMissing(err); err != nil {
				return removed, cannot(err, "look for the server of the port %s", one.ID)
			}
		}
		if err := in.unplug(ctx, []ports.Port{one}); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// floatingOf are the floating addresses that lead to a server. Nobody is asked where
// the server shows none.
func (in services) floatingOf(ctx context.Context, one server, its []ports.Port) ([]floatingips.FloatingIP, error) {
	some := false
	for _, addresses := range one.Addresses {
		some = some || slices.ContainsFunc(addresses, address.isFloating)
	}
	if !some {
		return nil, nil
	}
	var all []floatingips.FloatingIP
	for _, port := range its {
		pages, err := floatingips.List(in.network, floatingips.ListOpts{PortID: port.ID}).AllPages(ctx)
		if err != nil {
			return nil, cannot(err, "list the floating addresses of server %s", one.Name)
		}
		found, err := floatingips.ExtractFloatingIPs(pages)
		if err != nil {
			return nil, cannot(err, "read the floating addresses of server %s", one.Name)
		}
		all = append(all, found...)
	}
	return all, nil
}

// release gives floating addresses back.
func (in services) release(ctx context.Context, addresses []floatingips.FloatingIP) error {
	for _, one := range addresses {
		if err := ignoreMissing(floatingips.Delete(ctx, in.network, one.ID).ExtractErr()); err != nil {
			return cannot(err, "release the floating address %s", one.FloatingIP)
		}
	}
	return nil
}
