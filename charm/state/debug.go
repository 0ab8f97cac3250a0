package state

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github-runner/charm/pattern"
)

// fingerprint is the form in which OpenSSH prints SHA-256 fingerprints, with room for
// longer ones.
var fingerprint = pattern.UpTo(73, `^SHA256:[A-Za-z0-9+/]+={0,2}$`)

// debugHosts reads what the units of the debug-ssh relation sent. A unit that
// has not sent everything yet is left out; one that sent nonsense gives a
// warning and hides no other.
func (r *reader) debugHosts(units map[string]map[string]string) []DebugHost {
	var hosts []DebugHost
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		data := units[unit]
		if len(MissingDebugKeys(data)) > 0 {
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

// The keys of a debug host's data, as the relation's interface has them.
const (
	debugHostKey    = "host"
	debugPortKey    = "port"
	debugRSAKey     = "rsa_fingerprint"
	debugEd25519Key = "ed25519_fingerprint"
)

// MissingDebugKeys are the keys that a unit of the debug-ssh relation has yet to
// send before it is of use.
func MissingDebugKeys(data map[string]string) []string {
	var missing []string
	for _, key := range []string{debugHostKey, debugPortKey, debugRSAKey, debugEd25519Key} {
		if data[key] == "" {
			missing = append(missing, key)
		}
	}
	return missing
}

// parseDebugHost returns the host, or what is wrong with it.
func parseDebugHost(data map[string]string) (DebugHost, string) {
	addr, err := netip.ParseAddr(data[debugHostKey])
	if err != nil || addr.Zone() != "" {
		return DebugHost{}, "host " + quote(data[debugHostKey]) + " is no IPv4 or IPv6 address"
	}
	addr = addr.Unmap()
	if !isDebugAddress(addr) {
		return DebugHost{}, "host " + quote(data[debugHostKey]) + " is no address of another machine"
	}
	port, err := strconv.ParseUint(data[debugPortKey], 10, 16)
	if err != nil || port == 0 {
		return DebugHost{}, "port " + quote(data[debugPortKey]) + " is no number from 1 to 65535"
	}
	for _, key := range []string{debugRSAKey, debugEd25519Key} {
		if !fingerprint.Matches(data[key]) {
			return DebugHost{}, key + " " + quote(data[key]) + " is no fingerprint of the form SHA256:…"
		}
	}
	return DebugHost{
		Host:               addr,
		Port:               uint16(port),
		RSAFingerprint:     data[debugRSAKey],
		Ed25519Fingerprint: data[debugEd25519Key],
	}, ""
}

// isDebugAddress keeps out what would open the way to the machine itself, or to
// the link-local service by which clouds tell machines their secrets.
func isDebugAddress(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.Is4In6() && addr.Zone() == ""
}

func (h DebugHost) isValid() bool {
	return isDebugAddress(h.Host) && h.Port > 0 &&
		fingerprint.Matches(h.RSAFingerprint) && fingerprint.Matches(h.Ed25519Fingerprint)
}
