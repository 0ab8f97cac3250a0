package state

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Aproxy is what aproxy in a runner forwards to the model's proxy. The zero
// value is none: runners get the proxies as environment variables.
type Aproxy struct {
	// Proxy is "host:port" of the proxy; the host is a name or an address.
	Proxy string
	// Exclude are the IPv4 addresses that are reached directly, in ascending
	// order, without overlaps.
	Exclude []AddrRange
	// Ports are the TCP ports whose connections are redirected, in ascending
	// order, without overlaps.
	Ports []PortRange
}

// AddrRange is all IPv4 addresses from the first to the last.
type AddrRange struct {
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"`
}

// PortRange is all TCP ports from the first to the last.
type PortRange struct {
	From uint16 `json:"from"`
	To   uint16 `json:"to"`
}

// IsZero reports whether aproxy is not used.
func (a Aproxy) IsZero() bool {
	return a.Proxy == ""
}

// alwaysExcluded can't be reached through any proxy: the machine itself, and
// what is on its own link, such as a cloud's metadata service.
var alwaysExcluded = [...]string{"127.0.0.0/8", "169.254.0.0/16"}

const (
	rightAddressRanges = "give addresses, networks and ranges separated by commas, such as 10.0.0.0/8, 192.0.2.7 or 192.0.2.10-192.0.2.20"
	rightPortRanges    = "give ports and ranges of ports from 0 to 65535 separated by commas, such as 80, 443 or 8000-8999"
)

// aproxy reads the three options that are about it. The last two are checked
// also where it is not used: nobody should find out on the day that it is.
func (r *reader) aproxy(given, proxies Proxies) Aproxy {
	exclude := r.addressRanges()
	ports := r.portRanges()
	use := r.boolean(optionUseAproxy)
	switch {
	case !use:
		return Aproxy{}
	case given.IsZero():
		r.invalid(optionUseAproxy, "true", "set juju-http-proxy or juju-https-proxy with juju model-config first: aproxy forwards to it")
		return Aproxy{}
	case proxies.IsZero() || len(ports) == 0:
		return Aproxy{} // the proxies are a problem of their own; without ports there is nothing to do
	}
	u, err := url.Parse(proxies.first())
	if err != nil || u.User != nil {
		r.invalid(optionUseAproxy, "true", "aproxy can't log in at a proxy: give one without user name and password in juju-http-proxy, or reset the option")
		return Aproxy{}
	}
	if u.Scheme == "https" {
		r.warnings = append(r.warnings, optionUseAproxy+": aproxy speaks plain HTTP to the proxy, also where its URL begins with https")
	}
	return Aproxy{Proxy: proxies.Address(), Exclude: exclude, Ports: ports}
}

// addressRanges returns the option's IPv4 ranges and those that are always
// excluded. IPv6 is checked and left out: no IPv6 connection is redirected.
func (r *reader) addressRanges() []AddrRange {
	var spans []span
	var bad []string
	for _, entry := range append(r.list(optionAproxyExclude), alwaysExcluded[:]...) {
		from, to, ok := parseAddresses(entry)
		switch {
		case !ok:
			bad = append(bad, entry)
		case from.Is4():
			spans = append(spans, span{asNumber(from), asNumber(to)})
		}
	}
	if len(bad) > 0 {
		r.reject(Problem{Option: optionAproxyExclude, Value: quoteAll(bad), Fault: notValid(bad), Right: rightAddressRanges})
	}
	var ranges []AddrRange
	for _, s := range joined(spans) {
		ranges = append(ranges, AddrRange{asAddress(s.from), asAddress(s.to)})
	}
	return ranges
}

// parseAddresses takes an address, a network with or without host bits, or two
// addresses with a dash between them.
func parseAddresses(entry string) (from, to netip.Addr, ok bool) {
	first, last, isRange := strings.Cut(entry, "-")
	if !isRange {
		prefix, ok := parseNetwork(entry)
		if !ok {
			return from, to, false
		}
		return prefix.Masked().Addr(), lastOf(prefix), true
	}
	from, err1 := netip.ParseAddr(strings.TrimSpace(first))
	to, err2 := netip.ParseAddr(strings.TrimSpace(last))
	ok = err1 == nil && err2 == nil && from.Zone()+to.Zone() == "" &&
		from.Is4() == to.Is4() && !from.Is4In6() && !to.Is4In6() && from.Compare(to) <= 0
	return from, to, ok
}

// lastOf is the highest address of a network.
func lastOf(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Masked().Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

func (r *reader) portRanges() []PortRange {
	var spans []span
	var bad []string
	for _, entry := range r.list(optionAproxyPorts) {
		first, last, isRange := strings.Cut(entry, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
		to, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
		if err1 != nil || err2 != nil || from > to {
			bad = append(bad, entry)
			continue
		}
		spans = append(spans, span{uint32(from), uint32(to)})
	}
	if len(bad) > 0 {
		r.reject(Problem{Option: optionAproxyPorts, Value: quoteAll(bad), Fault: notValid(bad), Right: rightPortRanges})
	}
	var ranges []PortRange
	for _, s := range joined(spans) {
		ranges = append(ranges, PortRange{uint16(s.from), uint16(s.to)})
	}
	return ranges
}

// span is all numbers from the first to the last.
type span struct{ from, to uint32 }

// joined returns the same numbers in ascending spans that neither overlap nor
// touch: nftables refuses a set with overlaps.
func joined(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var result []span
	for _, s := range spans {
		// As 64 bits: the last address has no next one.
		if last := len(result) - 1; last >= 0 && uint64(s.from) <= uint64(result[last].to)+1 {
			result[last].to = max(result[last].to, s.to)
			continue
		}
		result = append(result, s)
	}
	return result
}

func asNumber(address netip.Addr) uint32 {
	bytes := address.As4()
	return binary.BigEndian.Uint32(bytes[:])
}

func asAddress(number uint32) netip.Addr {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], number)
	return netip.AddrFrom4(bytes)
}

// isValid reports whether the charm could have made it for these proxies.
func (a Aproxy) isValid(proxies Proxies) bool {
	if a.IsZero() {
		return len(a.Exclude) == 0 && len(a.Ports) == 0
	}
	var addresses, ports []span
	for _, r := range a.Exclude {
		if !r.From.Is4() || !r.To.Is4() {
			return false
		}
		addresses = append(addresses, span{asNumber(r.From), asNumber(r.To)})
	}
	for _, r := range a.Ports {
		ports = append(ports, span{uint32(r.From), uint32(r.To)})
	}
	return a.Proxy == proxies.Address() && len(ports) > 0 && apart(addresses) && apart(ports)
}

// apart reports whether spans are as joined returns them.
func apart(spans []span) bool {
	backwards := slices.ContainsFunc(spans, func(s span) bool { return s.from > s.to })
	return !backwards && slices.Equal(spans, joined(slices.Clone(spans)))
}
