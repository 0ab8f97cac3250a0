package lxd

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
)

// metadataService is where clouds tell machines their secrets.
var metadataService = netip.MustParsePrefix("169.254.169.254/32")

// endpoint is a TCP port that runners were told to use.
type endpoint struct {
	what string
	at   netip.AddrPort
}

// endpoints are those of the debug hosts, the proxies and the mirror that the
// configuration names by address. What it names by a host name is nobody's who
// writes firewall rules: an operator who denies its network means it.
func (c Config) endpoints() []endpoint {
	var result []endpoint
	for _, host := range c.DebugHosts {
		if addr, err := netip.ParseAddr(host.Host); err == nil {
			result = append(result, endpoint{"debug host", netip.AddrPortFrom(addr.Unmap(), uint16(host.Port))})
		}
	}
	for _, named := range []struct{ what, url string }{
		{"model's http proxy", c.Proxy.HTTP.Reveal()},
		{"model's https proxy", c.Proxy.HTTPS.Reveal()},
		{"proxy of aproxy", "http://" + c.Aproxy.Proxy},
		{"mirror of Docker Hub", c.DockerMirror},
	} {
		at, ok := addressOf(named.url)
		if ok && !slices.ContainsFunc(result, func(e endpoint) bool { return e.at == at }) {
			result = append(result, endpoint{named.what, at})
		}
	}
	return result
}

// addressOf returns where a URL's server listens, if the URL says it by address.
// Nothing else of the URL is told: it may hold a password.
func addressOf(text string) (netip.AddrPort, bool) {
	u, err := url.Parse(text)
	if err != nil {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return netip.AddrPort{}, false
	}
	port := uint64(443)
	if u.Scheme == "http" {
		port = 80
	}
	if u.Port() != "" {
		port, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), err == nil
}

// whyClosed says why no configuration opens an address to runners; "": nothing
// but the denylist can close it.
//
// An address of the machine stays closed even to a debug host: what a relation
// says comes from another application, perhaps of another model, and must not
// choose a port of this machine to be opened to jobs. The same goes for the
// metadata service.
func whyClosed(addr netip.Addr, machine []netip.Addr, bridge netip.Prefix) string {
	switch {
	case bridge.Contains(addr):
		return "that is in the runners' own subnet, which is closed to them"
	case slices.Contains(machine, addr):
		return "that is an address of this machine, and all of those are closed to runners"
	case addr.Is6():
		return "runners have no IPv6"
	case metadataService.Contains(addr):
		return "that is the metadata service, which is closed to runners"
	case !addr.IsGlobalUnicast():
		return "no other machine can have that address"
	}
	return ""
}

// openings are the endpoints that stay reachable although the denylist may cover
// them; warnings are about those that can't be.
func (c Config) openings(machine []netip.Addr, bridge netip.Prefix) (open []netip.AddrPort, warnings []string) {
	for _, e := range c.endpoints() {
		if why := whyClosed(e.at.Addr(), machine, bridge); why != "" {
			warnings = append(warnings, fmt.Sprintf("runners can't reach the %s %s: %s", e.what, e.at, why))
			continue
		}
		open = append(open, e.at)
	}
	return open, warnings
}

// usableDebugHosts are the debug hosts that a runner may get: those that it can
// reach or, where that is none, all of them. A job that was told of no debug host
// would open its session on a public one.
func (c *Cloud) usableDebugHosts() []cloudinit.DebugHost {
	if len(c.config.DebugHosts) == 0 {
		return nil // the machine's addresses, one or more for each runner, need no listing
	}
	machine, err := machineAddresses()
	if err != nil {
		c.log.WithError(err).Warn("a debug host may be out of reach")
	}
	var reachable []cloudinit.DebugHost
	for _, host := range c.config.DebugHosts {
		addr, err := netip.ParseAddr(host.Host)
		if err != nil || whyClosed(addr.Unmap(), machine, netip.Prefix{}) == "" {
			reachable = append(reachable, host)
		}
	}
	if len(reachable) == 0 {
		return c.config.DebugHosts
	}
	return reachable
}

// egressRules are the ACL's, in a stable order: what is closed of IPv4, but for
// the ports that stay open, and all of IPv6.
//
// LXD puts every rejection before every permission, so that an exception can't be
// written as a rule of its own: the networks are rejected without the addresses
// of the openings, and of those all but the open ports.
func egressRules(b borders) []api.NetworkACLRule {
	ports := map[netip.Addr][]uint16{}
	for _, opening := range b.open {
		addr := opening.Addr()
		if slices.ContainsFunc(b.closed, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			ports[addr] = append(ports[addr], opening.Port())
		}
	}
	holes := slices.SortedFunc(maps.Keys(ports), netip.Addr.Compare)

	reject := api.NetworkACLRule{Action: "reject", State: "enabled"}
	rules := []api.NetworkACLRule{reject}
	rules[0].Destination = join(without(b.closed, holes), ",")
	for _, hole := range holes {
		for _, kind := range []struct{ protocol, ports string }{{"tcp", otherPorts(ports[hole])}, {"udp", ""}, {"icmp4", ""}} {
			rule := reject
			rule.Destination, rule.Protocol, rule.DestinationPort = hole.String()+"/32", kind.protocol, kind.ports
			rules = append(rules, rule)
		}
	}
	ipv6 := reject
	ipv6.Destination = "::/0"
	return append(rules, ipv6)
}

// minimal returns the IPv4 networks, sorted, without those that lie in another.
func minimal(networks []netip.Prefix) []netip.Prefix {
	var sorted []netip.Prefix
	for _, network := range networks {
		if network.Addr().Is4() {
			sorted = append(sorted, network.Masked())
		}
	}
	slices.SortFunc(sorted, comparePrefix)
	var result []netip.Prefix
	for _, network := range sorted {
		// A network sorts behind those that it lies in.
		if len(result) == 0 || !result[len(result)-1].Overlaps(network) {
			result = append(result, network)
		}
	}
	return result
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// without returns the networks that cover all that the given ones do but the
// addresses, sorted as those are.
func without(networks []netip.Prefix, addresses []netip.Addr) []netip.Prefix {
	for _, addr := range addresses {
		var rest []netip.Prefix
		for _, network := range networks {
			rest = append(rest, complement(network, addr)...)
		}
		networks = rest
	}
	slices.SortFunc(networks, comparePrefix)
	return networks
}

// complement returns what is left of a network without one address: the halves
// that do not hold it, down to the address itself.
func complement(network netip.Prefix, addr netip.Addr) []netip.Prefix {
	if !network.Contains(addr) {
		return []netip.Prefix{network}
	}
	var rest []netip.Prefix
	for bits := network.Bits() + 1; bits <= addr.BitLen(); bits++ {
		half := netip.PrefixFrom(addr, bits).Masked()
		rest = append(rest, sibling(half))
	}
	return rest
}

// sibling is the other half of the network that an IPv4 one is half of.
func sibling(half netip.Prefix) netip.Prefix {
	bytes := half.Addr().As4()
	last := half.Bits() - 1
	bytes[last/8] ^= 0x80 >> (last % 8)
	return netip.PrefixFrom(netip.AddrFrom4(bytes), half.Bits())
}

// otherPorts are all ports but the given ones, as LXD takes them.
func otherPorts(ports []uint16) string {
	var ranges []string
	next := 1
	add := func(last int) {
		switch {
		case next == last:
			ranges = append(ranges, strconv.Itoa(next))
		case next < last:
			ranges = append(ranges, fmt.Sprintf("%d-%d", next, last))
		}
	}
	for _, port := range slices.Sorted(slices.Values(ports)) {
		add(int(port) - 1)
		next = int(port) + 1
	}
	add(65535)
	return strings.Join(ranges, ",")
}

func join(networks []netip.Prefix, separator string) string {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	return strings.Join(texts, separator)
}
