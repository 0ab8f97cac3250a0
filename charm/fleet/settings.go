package fleet

import (
	"github-runner/charm/cloudinit"
	"github-runner/charm/state"
)

// proxies are what programs in a runner are told of, and what their connections are
// redirected to: programs that were told would bypass that.
func proxies(s state.CharmState) (cloudinit.Proxy, cloudinit.Aproxy) {
	if s.Aproxy.IsZero() {
		return cloudinit.Proxy(s.Proxies), cloudinit.Aproxy{}
	}
	return cloudinit.Proxy{}, aproxy(s.Aproxy)
}

func aproxy(a state.Aproxy) cloudinit.Aproxy {
	result := cloudinit.Aproxy{Proxy: a.Proxy}
	for _, addresses := range a.Exclude {
		result.Exclude = append(result.Exclude, cloudinit.AddrRange(addresses))
	}
	for _, ports := range a.Ports {
		result.Ports = append(result.Ports, cloudinit.PortRange(ports))
	}
	return result
}

func debugHosts(s state.CharmState) []cloudinit.DebugHost {
	var hosts []cloudinit.DebugHost
	for _, host := range s.DebugHosts {
		hosts = append(hosts, cloudinit.DebugHost{
			Host:               host.Host.String(),
			Port:               int(host.Port),
			RSAFingerprint:     host.RSAFingerprint,
			ED25519Fingerprint: host.Ed25519Fingerprint,
		})
	}
	return hosts
}
