package state

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
)

func addrRanges(texts ...string) []AddrRange {
	var ranges []AddrRange
	for _, text := range texts {
		from, to, _ := strings.Cut(text, "-")
		ranges = append(ranges, AddrRange{netip.MustParseAddr(from), netip.MustParseAddr(to)})
	}
	return ranges
}

func aproxySource(config map[string]any) Source {
	source := sourceWith(config)
	source.Config["experimental-use-aproxy"] = true
	source.Proxies.HTTP = secret.New("http://proxy.example.com:3128/")
	return source
}

func TestAproxyExcludes(t *testing.T) {
	always := "127.0.0.0-127.255.255.255"
	link := "169.254.0.0-169.254.255.255"
	for name, test := range map[string]struct {
		given any
		want  []string
	}{
		"unset":             {nil, []string{"10.0.0.0-10.255.255.255", always, link, "172.16.0.0-172.31.255.255", "192.168.0.0-192.168.255.255"}},
		"nothing":           {" ", []string{always, link}},
		"host bits":         {"203.0.113.77/24", []string{always, link, "203.0.113.0-203.0.113.255"}},
		"netmask":           {"203.0.113.0/255.255.255.0", []string{always, link, "203.0.113.0-203.0.113.255"}},
		"one address":       {"203.0.113.77", []string{always, link, "203.0.113.77-203.0.113.77"}},
		"range with spaces": {"203.0.113.1 - 203.0.113.3", []string{always, link, "203.0.113.1-203.0.113.3"}},
		"overlaps":          {"203.0.113.1-203.0.113.9,203.0.113.5/32,203.0.113.8-203.0.113.20", []string{always, link, "203.0.113.1-203.0.113.20"}},
		"neighbours":        {"203.0.113.0/25,203.0.113.128/25", []string{always, link, "203.0.113.0-203.0.113.255"}},
		"the very last":     {"255.255.255.255,255.255.255.254", []string{always, link, "255.255.255.254-255.255.255.255"}},
		"everything":        {"0.0.0.0/0,10.0.0.0/8", []string{"0.0.0.0-255.255.255.255"}},
		"IPv6":              {"2001:db8::/32,::1,fd00::1-fd00::ff", []string{always, link}},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustNew(t, aproxySource(map[string]any{"aproxy-exclude-addresses": test.given}))
			if diff := cmp.Diff(addrRanges(test.want...), s.Aproxy.Exclude, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("excluded (-want +got):\n%s", diff)
			}
			if s.Aproxy.Proxy != "proxy.example.com:3128" {
				t.Errorf("the proxy is %q", s.Aproxy.Proxy)
			}
		})
	}
}

func TestAproxyPorts(t *testing.T) {
	for name, test := range map[string]struct {
		given any
		want  []PortRange
	}{
		"unset":    {nil, []PortRange{{80, 80}, {443, 443}}},
		"overlaps": {"8080,80,80-90,85-100,101", []PortRange{{80, 101}, {8080, 8080}}},
		"all":      {"0-65535", []PortRange{{0, 65535}}},
		"ends":     {"0, 65535", []PortRange{{0, 0}, {65535, 65535}}},
		"spaces":   {" 80 - 90 ,, ", []PortRange{{80, 90}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustNew(t, aproxySource(map[string]any{"aproxy-redirect-ports": test.given}))
			if diff := cmp.Diff(test.want, s.Aproxy.Ports); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoPortsIsNoAproxy(t *testing.T) {
	s := mustNew(t, aproxySource(map[string]any{"aproxy-redirect-ports": ""}))
	if !s.Aproxy.IsZero() || s.Proxies.IsZero() {
		t.Errorf("without ports, aproxy is %+v and the proxies are %v", s.Aproxy, s.Proxies)
	}
}

func TestAproxyWarnsOfTLS(t *testing.T) {
	source := aproxySource(nil)
	source.Proxies.HTTP = secret.New("https://proxy.example.com")
	s := mustNew(t, source)
	if s.Aproxy.Proxy != "proxy.example.com:443" || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "plain HTTP") {
		t.Errorf("aproxy %+v, warnings %q", s.Aproxy, s.Warnings)
	}
}

// A build in which aproxy had no effect stored no ports.
func TestAproxyOfAnOlderState(t *testing.T) {
	source := aproxySource(nil)
	encoded := string(mustEncode(t, mustNew(t, source)))
	before, rest, _ := strings.Cut(encoded, `"aproxy-exclude"`)
	_, after, _ := strings.Cut(rest, `"debug-hosts"`)
	s, err := Decode([]byte(before + `"debug-hosts"` + after))
	if err != nil || !s.Aproxy.IsZero() {
		t.Errorf("an older state: %+v, %v", s.Aproxy, err)
	}
}
