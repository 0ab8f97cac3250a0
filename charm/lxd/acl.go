package lxd

import (
	"cmp"
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
	if c.config.Policy.isOn() {
		b.open = append(b.open, netip.AddrPortFrom(gateway.Addr(), c.config.Policy.Port))
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
	c.log.WithField("acl", name).Info("the network ACL is not what addresses and denylist ask for: " + rewriting(*current, wanted))
	change := api.NetworkACLPut{Description: current.Description, Config: current.Config, Egress: wanted, Ingress: []api.NetworkACLRule{}}
	if err := server.change(http.MethodPut, apiPath("network-acls", name), change, etag); err != nil {
		return cannot(err, "change the network ACL %s", name)
	}
	return c.readBackACL(server, wanted)
}

// rewriting says what writing the rules anew changes. An address of the machine
// that came or went and a rule that somebody else wrote look the same to the
// charm; a person knows them by where they lead.
func rewriting(current api.NetworkACL, wanted []api.NetworkACLRule) string {
	before, after := wordRules("", current.Egress), wordRules("", wanted)
	before = append(before, wordRules("ingress ", current.Ingress)...)
	in := func(words []string) func(string) bool {
		return func(word string) bool { return slices.Contains(words, word) }
	}
	added, removed := slices.DeleteFunc(slices.Clone(after), in(before)), slices.DeleteFunc(before, in(after))
	var parts []string
	if len(added) > 0 {
		parts = append(parts, "adding "+firstOf(added))
	}
	if len(removed) > 0 {
		parts = append(parts, "removing "+firstOf(removed))
	}
	if len(parts) == 0 {
		return "writing the same rules in their order"
	}
	return strings.Join(parts, ", ")
}

// wordRules says each rule in words, once for each of its destinations. What a
// rule of the charm's has every time is not said.
func wordRules(direction string, rules []api.NetworkACLRule) []string {
	var words []string
	for _, rule := range rules {
		var more []string
		for _, part := range []struct{ label, value string }{
			{"from ", rule.Source}, {"", rule.Protocol}, {"source port ", rule.SourcePort}, {"port ", rule.DestinationPort},
		} {
			if part.value != "" {
				more = append(more, part.label+part.value)
			}
		}
		if rule.State != "enabled" {
			more = append(more, rule.State)
		}
		action := rule.Action + " "
		if rule.Action == "reject" {
			action = ""
		}
		for destination := range strings.SplitSeq(cmp.Or(rule.Destination, "everywhere"), ",") {
			words = append(words, strings.Join(append([]string{direction + action + destination}, more...), " "))
		}
	}
	return words
}

// firstOf lists what is not too much for a line of the log.
func firstOf(words []string) string {
	const shown = 5
	if len(words) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), len(words)-shown)
	}
	return strings.Join(words, ", ")
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
