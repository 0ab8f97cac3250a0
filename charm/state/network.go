package state

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github-runner/charm/secret"
)

// Proxies are the proxies of a Juju model. In a CharmState the first two are
// empty or http and https URLs with a host; they are secret, because they may
// hold a password. NoProxy is empty when both are; otherwise it has no space
// around its entries.
type Proxies struct {
	HTTP    secret.Text
	HTTPS   secret.Text
	NoProxy string
}

// IsZero reports whether there is no proxy.
func (p Proxies) IsZero() bool {
	return p.HTTP.IsZero() && p.HTTPS.IsZero()
}

// first is the URL of the proxy for http, or of that for https where there is no
// other.
func (p Proxies) first() string {
	if p.HTTP.IsZero() {
		return p.HTTPS.Reveal()
	}
	return p.HTTP.Reveal()
}

// Address is "host:port" of the proxy for http, or of that for https where
// there is no other: what aproxy forwards to. The port is the scheme's own when
// the URL names none. It is empty when there is no proxy.
func (p Proxies) Address() string {
	u, err := url.Parse(p.first())
	if err != nil || u.Host == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

const maxNoProxy = 16 << 10

// proxies returns the model's proxies. given has no space around its values.
func (r *reader) proxies(given Proxies) Proxies {
	if given.IsZero() {
		return Proxies{}
	}
	return Proxies{
		HTTP:    r.proxy("juju-http-proxy of the model", given.HTTP),
		HTTPS:   r.proxy("juju-https-proxy of the model", given.HTTPS),
		NoProxy: r.noProxy(given.NoProxy),
	}
}

// trimmed is without the space around the values.
func (p Proxies) trimmed() Proxies {
	return Proxies{
		HTTP:    secret.New(strings.TrimSpace(p.HTTP.Reveal())),
		HTTPS:   secret.New(strings.TrimSpace(p.HTTPS.Reveal())),
		NoProxy: strings.TrimSpace(p.NoProxy),
	}
}

func (r *reader) proxy(option string, value secret.Text) secret.Text {
	if value.IsZero() || isProxy(value.Reveal()) {
		return value
	}
	problem := Problem{Option: option, Value: quoteURL(value.Reveal()), Fault: "is not valid", Right: "give an http or https URL with a host, such as http://proxy.example.com:3128"}
	if problem.Value == "" {
		problem.Right += "; it is not shown because it may hold a password: check the port too, and that @, :, / and % in user and password are written as %40, %3A, %2F and %25"
	}
	r.reject(problem)
	return secret.Text{}
}

// hostName is what the host in a proxy's URL may be made of. It ends up in
// programs' settings that the URL's other characters mean something to.
var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func isProxy(value string) bool {
	u, ok := parseURL(value, "http", "https")
	if !ok || u.Fragment != "" {
		return false
	}
	_, err := netip.ParseAddr(u.Hostname())
	return err == nil || hostName.MatchString(u.Hostname())
}

// isNoProxyEntry reports whether an entry is a host name, with or without a port or a
// wildcard, an address or a network. Quotes, number signs and backslashes mean
// something else to each of the programs that read the variable from a file.
func isNoProxyEntry(entry string) bool {
	return strings.IndexFunc(entry, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsNumber(c) && !strings.ContainsRune("._*:/[]%<>+~-", c)
	}) < 0
}

func (r *reader) noProxy(value string) string {
	var entries, bad []string
	for entry := range strings.SplitSeq(value, ",") {
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
		case !isNoProxyEntry(entry):
			bad = append(bad, entry)
		default:
			entries = append(entries, entry)
		}
	}
	list := strings.Join(entries, ",")
	if len(list) > maxNoProxy {
		bad = append(bad, value)
	}
	if len(bad) > 0 {
		r.reject(Problem{Option: "juju-no-proxy of the model", Value: quoteAll(bad), Fault: notValid(bad), Right: "give host names and addresses separated by commas, in one line"})
		return ""
	}
	return list
}

func (r *reader) dockerhubMirror() string {
	value := r.text(optionDockerhubMirror)
	if value == "" {
		return ""
	}
	u, ok := parseURL(value, "https")
	if !ok || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		r.reject(Problem{Option: optionDockerhubMirror, Value: quoteURL(value), Fault: "is not valid", Right: "give an https URL with a host and without a password or query, such as https://mirror.example.com"})
		return ""
	}
	// https://github.com/moby/moby/pull/46594
	if strings.Trim(u.Path, "/") != "" {
		r.warnings = append(r.warnings, optionDockerhubMirror+" "+quoteURL(value)+" has a path: Docker before 25.0 does not start with it")
	}
	return value
}

// isPort reports whether the port of a URL is unset or one that exists.
func isPort(u *url.URL) bool {
	if strings.HasSuffix(u.Host, ":") {
		return false
	}
	port := u.Port()
	if port == "" {
		return true
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}

const rightDenylist = "give addresses and networks separated by commas, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"

// denylist returns each network once. A network with host bits is refused: it
// may mean the host as well as its network.
func (r *reader) denylist() []netip.Prefix {
	var prefixes []netip.Prefix
	var bad []string
	var right string
	for entry := range strings.SplitSeq(r.text(optionDenylist), ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		prefix, ok := parseNetwork(entry)
		switch {
		case !ok:
			bad, right = append(bad, entry), rightDenylist
		case prefix != prefix.Masked():
			bad = append(bad, entry)
			right = fmt.Sprintf("give %s for the network or %s for the one address", prefix.Masked(), prefix.Addr())
		case !slices.Contains(prefixes, prefix):
			prefixes = append(prefixes, prefix)
		}
	}
	if len(bad) > 1 {
		right = rightDenylist // what is right for one of them is not for the others
	}
	if len(bad) > 0 {
		r.reject(Problem{Option: optionDenylist, Value: quoteAll(bad), Fault: notValid(bad), Right: right})
	}
	return prefixes
}

// parseNetwork takes an address, a prefix in CIDR notation, or an IPv4 address
// with a netmask.
func parseNetwork(entry string) (netip.Prefix, bool) {
	address, mask, hasMask := strings.Cut(entry, "/")
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return netip.Prefix{}, false
	}
	if !hasMask {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	if !strings.Contains(mask, ".") {
		prefix, err := netip.ParsePrefix(entry)
		return prefix, err == nil
	}
	netmask, err := netip.ParseAddr(mask)
	if err != nil || !netmask.Is4() || !addr.Is4() {
		return netip.Prefix{}, false
	}
	// Size answers 0, 0 for a mask with holes.
	ones, bits := net.IPMask(netmask.AsSlice()).Size()
	return netip.PrefixFrom(addr, ones), bits == addr.BitLen()
}
