package lxd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github-runner/charm/cloudinit"
	"github-runner/charm/secret"
)

func ports(texts ...string) []netip.AddrPort {
	var result []netip.AddrPort
	for _, text := range texts {
		result = append(result, netip.MustParseAddrPort(text))
	}
	return result
}

func addresses(texts ...string) []netip.Addr {
	var result []netip.Addr
	for _, text := range texts {
		result = append(result, netip.MustParseAddr(text))
	}
	return result
}

func TestEgressRules(t *testing.T) {
	for name, test := range map[string]struct {
		closed []netip.Prefix
		open   []netip.AddrPort
		wanted []api.NetworkACLRule
	}{
		"sorted, masked, each once, none inside another": {
			closed: prefixes("192.0.2.2/32", "172.16.3.4/12", "10.1.0.1/32", "fd00::2/128", "10.1.0.1/32", "172.20.0.0/16"),
			wanted: []api.NetworkACLRule{{Destination: "10.1.0.1/32,172.16.0.0/12,192.0.2.2/32"}},
		},
		"an opening that nothing covers": {
			closed: prefixes("10.0.0.0/8"),
			open:   ports("192.0.2.7:22"),
			wanted: []api.NetworkACLRule{{Destination: "10.0.0.0/8"}},
		},
		"an opening inside a network": {
			closed: prefixes("10.0.0.0/29"),
			open:   ports("10.0.0.5:22"),
			wanted: []api.NetworkACLRule{
				{Destination: "10.0.0.0/30,10.0.0.4/32,10.0.0.6/31"},
				{Destination: "10.0.0.5/32", Protocol: "tcp", DestinationPort: "1-21,23-65535"},
				{Destination: "10.0.0.5/32", Protocol: "udp"},
				{Destination: "10.0.0.5/32", Protocol: "icmp4"},
			},
		},
		"an opening that is denied by its own address": {
			closed: prefixes("10.0.0.5/32", "192.0.2.0/24"),
			open:   ports("10.0.0.5:1", "10.0.0.5:65535"),
			wanted: []api.NetworkACLRule{
				{Destination: "192.0.2.0/24"},
				{Destination: "10.0.0.5/32", Protocol: "tcp", DestinationPort: "2-65534"},
				{Destination: "10.0.0.5/32", Protocol: "udp"},
				{Destination: "10.0.0.5/32", Protocol: "icmp4"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range test.wanted {
				test.wanted[i].Action, test.wanted[i].State = "reject", "enabled"
			}
			test.wanted = append(test.wanted, api.NetworkACLRule{Action: "reject", State: "enabled", Destination: "::/0"})
			if diff := cmp.Diff(test.wanted, egressRules(borders{minimal(test.closed), test.open})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever the lists are, each address is closed exactly if a network covers it,
// and each network of the result lies in one of the given.
func TestWithoutKeepsEverythingElse(t *testing.T) {
	networks := minimal(prefixes("10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/28", "0.0.0.0/8", "224.0.0.0/4"))
	holes := addresses("10.0.0.0", "10.0.0.127", "10.0.0.128", "10.0.0.255", "10.0.1.7", "10.0.1.200", "0.0.0.0", "239.255.255.255")
	rest := without(networks, holes)
	covers := func(networks []netip.Prefix, addr netip.Addr) (n int) {
		for _, network := range networks {
			if network.Contains(addr) {
				n++
			}
		}
		return n
	}
	last := netip.MustParseAddr("10.0.2.0")
	for addr := netip.MustParseAddr("9.255.255.0"); addr != last; addr = addr.Next() {
		wanted := covers(networks, addr)
		for _, hole := range holes {
			if addr == hole {
				wanted = 0
			}
		}
		if got := covers(rest, addr); got != wanted {
			t.Errorf("%s is closed %d times, wanted %d", addr, got, wanted)
		}
	}
	for _, hole := range holes {
		if covers(rest, hole) != 0 {
			t.Errorf("%s is still closed", hole)
		}
	}
	if !covered(networks, rest) {
		t.Errorf("%v closes more than %v", rest, networks)
	}
}

func covered(networks, rest []netip.Prefix) bool {
	for _, network := range rest {
		inside := false
		for _, outer := range networks {
			inside = inside || outer.Contains(network.Addr()) && outer.Bits() <= network.Bits()
		}
		if !inside {
			return false
		}
	}
	return true
}

func TestWithoutAnAddressOfEverything(t *testing.T) {
	rest := without(prefixes("0.0.0.0/0"), addresses("192.0.2.7"))
	if len(rest) != 32 {
		t.Errorf("%d networks: %v", len(rest), rest)
	}
	for text, wanted := range map[string]bool{"192.0.2.7": false, "192.0.2.6": true, "0.0.0.0": true, "255.255.255.255": true, "128.0.0.0": true} {
		closed := false
		for _, network := range rest {
			closed = closed || network.Contains(netip.MustParseAddr(text))
		}
		if closed != wanted {
			t.Errorf("%s closed: %v", text, closed)
		}
	}
}

func TestOtherPorts(t *testing.T) {
	for _, test := range []struct {
		ports  []uint16
		wanted string
	}{
		{[]uint16{22}, "1-21,23-65535"},
		{[]uint16{1}, "2-65535"},
		{[]uint16{65535}, "1-65534"},
		{[]uint16{80, 22, 22, 24}, "1-21,23,25-79,81-65535"},
	} {
		if got := otherPorts(test.ports); got != test.wanted {
			t.Errorf("all but %v: %q, wanted %q", test.ports, got, test.wanted)
		}
	}
}

func TestOpenings(t *testing.T) {
	machine := addresses("192.0.2.2", "fd00::2")
	bridge := netip.MustParsePrefix("10.77.0.1/22")
	for name, test := range map[string]struct {
		change  func(*Config)
		wanted  []netip.AddrPort
		warning string
	}{
		"nothing": {func(*Config) {}, nil, ""},
		"debug hosts": {
			func(c *Config) {
				c.DebugHosts = []cloudinit.DebugHost{{Host: "10.1.2.3", Port: 2200}, {Host: "::ffff:10.1.2.4", Port: 22}}
			},
			ports("10.1.2.3:2200", "10.1.2.4:22"), "",
		},
		"an IPv6 debug host beside another": {
			func(c *Config) {
				c.DebugHosts = []cloudinit.DebugHost{{Host: "2001:db8::1", Port: 22}, {Host: "10.1.2.3", Port: 22}}
			},
			ports("10.1.2.3:22"), "runners can't reach the debug host [2001:db8::1]:22: runners have no IPv6",
		},
		"a debug host on this machine": {
			func(c *Config) { c.DebugHosts = []cloudinit.DebugHost{{Host: "192.0.2.2", Port: 22}} },
			nil, "runners can't reach the debug host 192.0.2.2:22: that is an address of this machine",
		},
		"a debug host that says it is the metadata service": {
			func(c *Config) { c.DebugHosts = []cloudinit.DebugHost{{Host: "169.254.169.254", Port: 80}} },
			nil, "metadata service",
		},
		"a debug host that says it is a runner": {
			func(c *Config) { c.DebugHosts = []cloudinit.DebugHost{{Host: "10.77.1.2", Port: 22}} },
			nil, "runners' own subnet",
		},
		"broadcast": {
			func(c *Config) { c.DebugHosts = []cloudinit.DebugHost{{Host: "255.255.255.255", Port: 22}} },
			nil, "no other machine",
		},
		"proxies and mirror by address": {
			func(c *Config) {
				c.Proxy = cloudinit.Proxy{HTTP: secret.New("http://user:word@10.1.0.1:3128"), HTTPS: secret.New("https://10.1.0.2")}
				c.Aproxy.Proxy = "10.1.0.1:3128"
				c.DockerMirror = "https://10.1.0.3:5000/path"
			},
			ports("10.1.0.1:3128", "10.1.0.2:443", "10.1.0.3:5000"), "",
		},
		"a proxy without a port": {func(c *Config) { c.Proxy.HTTP = secret.New("http://10.1.0.1") }, ports("10.1.0.1:80"), ""},
		"aproxy alone":           {func(c *Config) { c.Aproxy.Proxy = "10.1.0.1:3128" }, ports("10.1.0.1:3128"), ""},
		"a proxy by name":        {func(c *Config) { c.Proxy.HTTP = secret.New("http://proxy.example.com:3128") }, nil, ""},
		"a proxy on the loopback": {
			func(c *Config) { c.Proxy.HTTP = secret.New("http://user:word@127.0.0.1:3128") },
			nil, "runners can't reach the model's http proxy 127.0.0.1:3128: no other machine",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(t)
			test.change(&config)
			open, warnings := config.openings(machine, bridge)
			if diff := cmp.Diff(test.wanted, open, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Error(diff)
			}
			all := strings.Join(warnings, "\n")
			if (test.warning == "") != (all == "") || !strings.Contains(all, test.warning) {
				t.Errorf("warnings: %q, wanted %q", all, test.warning)
			}
		})
	}
}

func TestRunnersGetADebugHostThatTheyCanReach(t *testing.T) {
	far, near := cloudinit.DebugHost{Host: "2001:db8::1", Port: 22}, cloudinit.DebugHost{Host: "203.0.113.9", Port: 22}
	for name, test := range map[string]struct{ given, wanted []cloudinit.DebugHost }{
		"one of both kinds": {[]cloudinit.DebugHost{far, near, {Host: "169.254.169.254", Port: 22}}, []cloudinit.DebugHost{near}},
		"none that it can":  {[]cloudinit.DebugHost{far}, []cloudinit.DebugHost{far}},
		"none":              {nil, nil},
	} {
		config := testConfig(t)
		config.DebugHosts = test.given
		cloud, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.wanted, cloud.usableDebugHosts()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
