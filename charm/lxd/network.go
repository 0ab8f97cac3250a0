package lxd

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// subnetBits is the size of a unit's subnet: room for a thousand runners.
const subnetBits = 22

// privateRanges are where the subnet of a bridge is looked for, in this order.
var privateRanges = [...]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}

// networkConfig is the part of a bridge's configuration that is ours; LXD adds
// its own.
func (c *Cloud) networkConfig() map[string]string {
	return map[string]string{
		"ipv4.nat":                            "true",
		"ipv6.address":                        "none",
		"security.acls":                       c.config.unitName(),
		"security.acls.default.egress.action": "allow",
	}
}

// gateway returns the machine's address on the unit's bridge, with the bridge's
// subnet: that of network, or for nil, where there is none yet, a free one. A
// subnet that was edited is taken as it is: runners have addresses in it.
func (c *Cloud) gateway(network *api.Network, networks []api.Network) (netip.Prefix, error) {
	if network != nil {
		address := network.Config["ipv4.address"]
		gateway, err := netip.ParsePrefix(address)
		if err != nil || !gateway.Addr().Is4() {
			return netip.Prefix{}, runner.Trouble{
				Advice: fmt.Sprintf("give the runners' bridge an address again: lxc network set %s ipv4.address auto", network.Name),
				Err:    fmt.Errorf("cannot use the network %s: its ipv4.address %q is no IPv4 address with a subnet", network.Name, address),
			}
		}
		return gateway, nil
	}
	taken, err := takenSubnets(networks)
	if err != nil {
		return netip.Prefix{}, err
	}
	gateway, ok := freeSubnet(taken, c.config.unitName())
	if !ok {
		return netip.Prefix{}, runner.Trouble{
			Advice: "no private IPv4 subnet is free for the runners' bridge: remove a route or an LXD network",
			Err:    fmt.Errorf("cannot create the network %s: all of %s overlap with routes, addresses or networks of this machine", c.config.unitName(), strings.Join(privateRanges[:], ", ")),
		}
	}
	return gateway, nil
}

// createNetwork makes the unit's bridge.
func (c *Cloud) createNetwork(server server, gateway netip.Prefix) error {
	name := c.config.unitName()
	request := api.NetworksPost{Name: name, Type: "bridge", NetworkPut: api.NetworkPut{
		Description: "Runners of " + c.config.Owner.Unit,
		Config:      merged(c.networkConfig(), map[string]string{"ipv4.address": gateway.String()}),
	}}
	if err := server.change(http.MethodPost, "/networks", request, ""); err != nil {
		return cannot(err, "create the network %s with the subnet %s", name, gateway)
	}
	return c.readBackNetwork(server)
}

// repairNetwork writes what differs and leaves alone what others may have added.
func (c *Cloud) repairNetwork(server server, network api.Network) error {
	wanted := merged(network.Config, c.networkConfig())
	if network.Status == api.NetworkStatusErrored {
		return fmt.Errorf("cannot use the network %s: LXD says that it is in error", network.Name)
	}
	if maps.Equal(network.Config, wanted) {
		return nil
	}
	c.log.WithField("network", network.Name).Warn("the network was edited: repairing it")
	change := api.NetworkPut{Description: network.Description, Config: wanted}
	if err := server.change(http.MethodPut, apiPath("networks", network.Name), change, ""); err != nil {
		return cannot(err, "repair the network %s", network.Name)
	}
	return c.readBackNetwork(server)
}

// readBackNetwork makes sure that what was written is in force.
func (c *Cloud) readBackNetwork(server server) error {
	networks, err := server.GetNetworks()
	if err != nil {
		return cannot(err, "read the network %s back", c.config.unitName())
	}
	for _, network := range networks {
		if network.Name == c.config.unitName() && maps.Equal(network.Config, merged(network.Config, c.networkConfig())) {
			return nil
		}
	}
	return fmt.Errorf("cannot set up the network %s: LXD accepted it and does not show it", c.config.unitName())
}

// takenSubnets are all that the machine has addresses in, knows routes to, or
// gave to an LXD network.
func takenSubnets(networks []api.Network) ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of this machine: %w", err)
	}
	var taken []netip.Prefix
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			taken = append(taken, prefix)
		}
	}
	for _, network := range networks {
		if prefix, err := netip.ParsePrefix(network.Config["ipv4.address"]); err == nil {
			taken = append(taken, prefix)
		}
	}
	table, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("cannot read the routes of this machine: %w", err)
	}
	return append(taken, routes(string(table))...), nil
}

// routes parses /proc/net/route; the default route says nothing about what is
// taken.
func routes(table string) []netip.Prefix {
	var result []netip.Prefix
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		var destination, mask uint32
		if n, _ := fmt.Sscanf(fields[1]+" "+fields[7], "%x %x", &destination, &mask); n != 2 || mask == 0 {
			continue
		}
		// The kernel prints addresses as numbers of its own byte order.
		var address, bits [4]byte
		binary.NativeEndian.PutUint32(address[:], destination)
		binary.NativeEndian.PutUint32(bits[:], mask)
		ones, _ := net.IPMask(bits[:]).Size()
		result = append(result, netip.PrefixFrom(netip.AddrFrom4(address), ones))
	}
	return result
}

// freeSubnet returns the gateway's address in a subnet that overlaps with none
// of those taken. The search starts at a place that the seed decides, so that
// units that look at the same time rarely find the same one.
func freeSubnet(taken []netip.Prefix, seed string) (netip.Prefix, bool) {
	for _, text := range privateRanges {
		whole := netip.MustParsePrefix(text)
		count := uint32(1) << (subnetBits - whole.Bits())
		first := hash32(seed) % count
		for i := range count {
			candidate := nthSubnet(whole, (first+i)%count)
			if !overlapsAny(candidate, taken) {
				return netip.PrefixFrom(candidate.Addr().Next(), subnetBits), true
			}
		}
	}
	return netip.Prefix{}, false
}

func nthSubnet(whole netip.Prefix, n uint32) netip.Prefix {
	base := whole.Addr().As4()
	address := binary.BigEndian.Uint32(base[:]) + n<<(32-subnetBits)
	binary.BigEndian.PutUint32(base[:], address)
	return netip.PrefixFrom(netip.AddrFrom4(base), subnetBits)
}

func overlapsAny(candidate netip.Prefix, taken []netip.Prefix) bool {
	for _, prefix := range taken {
		if candidate.Overlaps(prefix) {
			return true
		}
	}
	return false
}

// merged returns base with changes on top.
func merged(base, changes map[string]string) map[string]string {
	result := maps.Clone(base)
	if result == nil {
		result = map[string]string{}
	}
	maps.Copy(result, changes)
	return result
}
