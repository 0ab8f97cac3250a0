package lxd

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// ensureACL closes to the runners every address of the machine, the metadata
// service, the denylist, their own subnet, and IPv6 as a whole. LXD itself lets
// DHCP and DNS through. gateway is the machine's address on the bridge, with the
// bridge's subnet.
//
// The subnet is closed because port isolation stops only frames that go from one
// runner straight to another, not packets that the machine forwards back.
func (c *Cloud) ensureACL(server server, gateway netip.Prefix) (warnings []string, err error) {
	machine, err := machineAddresses()
	if err != nil {
		return nil, err
	}
	open, warnings := c.config.openings(machine, gateway)
	closed := append([]netip.Prefix{metadataService, gateway}, c.config.Denylist...)
	for _, addr := range machine {
		closed = append(closed, netip.PrefixFrom(addr, addr.BitLen()))
	}
	if c.config.PolicyPort != 0 {
		open = append(open, netip.AddrPortFrom(gateway.Addr(), c.config.PolicyPort))
	}
	return warnings, c.writeACL(server, egressRules(closed, open))
}

// writeACL makes the ACL have these rules, and no others.
func (c *Cloud) writeACL(server server, wanted []api.NetworkACLRule) error {
	name := c.config.unitName()
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
