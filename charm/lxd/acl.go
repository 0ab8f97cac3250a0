package lxd

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// metadataService is where clouds tell machines their secrets.
var metadataService = netip.MustParsePrefix("169.254.169.254/32")

// ensureACL closes to the runners every address of the machine, the metadata
// service, the denylist, and IPv6 as a whole. LXD itself lets DHCP and DNS of the
// bridge through.
func (c *Cloud) ensureACL(server server) error {
	addresses, err := machineAddresses()
	if err != nil {
		return err
	}
	name := c.config.unitName()
	wanted := egressRules(addresses, c.config.Denylist)
	current, etag, err := server.GetNetworkACL(name)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) {
		request := api.NetworkACLsPost{
			NetworkACLPost: api.NetworkACLPost{Name: name},
			NetworkACLPut:  api.NetworkACLPut{Description: "Runners of " + c.config.Owner.Unit, Egress: wanted},
		}
		if err := server.change(http.MethodPost, "/network-acls", request, ""); err != nil {
			return cannot(err, "create the network ACL %s", name)
		}
		return c.readBackACL(server, wanted)
	}
	if err != nil {
		return cannot(err, "read the network ACL %s", name)
	}
	if slices.Equal(current.Egress, wanted) && len(current.Ingress) == 0 {
		return nil
	}
	c.log.WithField("acl", name).Info("the network ACL is not what addresses and denylist ask for: writing it anew")
	change := api.NetworkACLPut{Description: current.Description, Config: current.Config, Egress: wanted, Ingress: []api.NetworkACLRule{}}
	if err := server.change(http.MethodPut, apiPath("network-acls", name), change, etag); err != nil {
		return cannot(err, "change the network ACL %s", name)
	}
	return c.readBackACL(server, wanted)
}

func (c *Cloud) readBackACL(server server, wanted []api.NetworkACLRule) error {
	current, _, err := server.GetNetworkACL(c.config.unitName())
	if err != nil {
		return cannot(classify(err), "read the network ACL %s back", c.config.unitName())
	}
	if !slices.Equal(current.Egress, wanted) {
		return fmt.Errorf("cannot set up the network ACL %s: LXD accepted its rules and shows others", c.config.unitName())
	}
	return nil
}

// egressRules are the rejections, in a stable order.
func egressRules(addresses []netip.Addr, denylist []netip.Prefix) []api.NetworkACLRule {
	closed := []netip.Prefix{metadataService}
	for _, address := range addresses {
		closed = append(closed, netip.PrefixFrom(address, address.BitLen()))
	}
	closed = append(closed, denylist...)
	var destinations []string
	for _, prefix := range closed {
		if prefix.Addr().Is4() {
			destinations = append(destinations, prefix.Masked().String())
		}
	}
	slices.Sort(destinations)
	return []api.NetworkACLRule{
		{Action: "reject", State: "enabled", Destination: strings.Join(slices.Compact(destinations), ",")},
		{Action: "reject", State: "enabled", Destination: "::/0"},
	}
}

// machineAddresses are all addresses of the machine but those of the loopback,
// which no other machine reaches.
func machineAddresses() ([]netip.Addr, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of this machine: %w", err)
	}
	var result []netip.Addr
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && !prefix.Addr().IsLoopback() {
			result = append(result, prefix.Addr())
		}
	}
	return result, nil
}
