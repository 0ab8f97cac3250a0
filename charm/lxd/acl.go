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

// borders are what a unit's runners can't reach of IPv4, and the TCP ports in there
// that they can.
type borders struct {
	closed []netip.Prefix
	open   []netip.AddrPort
}

// borders returns what is closed now: every address of the machine, the metadata
// service, the denylist, and the runners' own subnet. gateway is the machine's
// address on the bridge, with that subnet. The warnings are about what runners
// were told to use and can't reach.
//
// The subnet is closed because port isolation stops only frames that go from one
// runner straight to another, not packets that the machine forwards back.
func (c *Cloud) borders(gateway netip.Prefix) (b borders, warnings []string, err error) {
	machine, err := machineAddresses()
	if err != nil {
		return borders{}, nil, err
	}
	b.open, warnings = c.config.openings(machine, gateway)
	b.closed = append([]netip.Prefix{metadataService, gateway}, c.config.Denylist...)
	for _, addr := range machine {
		b.closed = append(b.closed, netip.PrefixFrom(addr, addr.BitLen()))
	}
	if c.config.PolicyPort != 0 {
		b.open = append(b.open, netip.AddrPortFrom(gateway.Addr(), c.config.PolicyPort))
	}
	b.closed = minimal(b.closed)
	return b, warnings, nil
}

// ensureACL makes the ACL have the rules of the borders, and no others. LXD itself
// lets DHCP and DNS through.
func (c *Cloud) ensureACL(server server, b borders) error {
	name, wanted := c.config.unitName(), egressRules(b)
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
