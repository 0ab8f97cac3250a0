package state

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
)

// fingerprint is the form in which OpenSSH prints SHA-256 fingerprints.
var fingerprint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{1,64}={0,2}$`)

// debugHosts reads what the units of the debug-ssh relation sent. A unit that
// has not sent everything yet is left out; one that sent nonsense gives a
// warning and hides no other.
func (r *reader) debugHosts(units map[string]map[string]string) []DebugHost {
	var hosts []DebugHost
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		data := units[unit]
		if data["host"] == "" || data["port"] == "" || data["rsa_fingerprint"] == "" || data["ed25519_fingerprint"] == "" {
			continue
		}
		host, problem := parseDebugHost(data)
		if problem != "" {
			r.warnings = append(r.warnings, fmt.Sprintf("debug-ssh: unit %s is left out: %s", quote(unit), problem))
			continue
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	slices.SortFunc(hosts, func(a, b DebugHost) int {
		if order := a.Host.Compare(b.Host); order != 0 {
			return order
		}
		return int(a.Port) - int(b.Port)
	})
	return hosts
}

// parseDebugHost returns the host, or what is wrong with it.
func parseDebugHost(data map[string]string) (DebugHost, string) {
	addr, err := netip.ParseAddr(data["host"])
	if err != nil || addr.Zone() != "" || addr.IsUnspecified() {
		return DebugHost{}, "host " + quote(data["host"]) + " is no IPv4 or IPv6 address"
	}
	port, err := strconv.ParseUint(data["port"], 10, 16)
	if err != nil || port == 0 {
		return DebugHost{}, "port " + quote(data["port"]) + " is no number from 1 to 65535"
	}
	for _, key := range []string{"rsa_fingerprint", "ed25519_fingerprint"} {
		if !fingerprint.MatchString(data[key]) {
			return DebugHost{}, key + " " + quote(data[key]) + " is no fingerprint of the form SHA256:…"
		}
	}
	return DebugHost{
		Host:               addr.Unmap(),
		Port:               uint16(port),
		RSAFingerprint:     data["rsa_fingerprint"],
		Ed25519Fingerprint: data["ed25519_fingerprint"],
	}, ""
}

func (h DebugHost) isValid() bool {
	return h.Host.IsValid() && h.Port > 0 &&
		fingerprint.MatchString(h.RSAFingerprint) && fingerprint.MatchString(h.Ed25519Fingerprint)
}
