package fleet

import (
	"github-runner/charm/cloudinit"
	"github-runner/charm/state"
)

// settings are what all runners are told. Programs in them are told of the proxies, or
// their connections are redirected by aproxy: programs that were told would bypass it.
func settings(s state.CharmState) cloudinit.Settings {
	told := cloudinit.Settings{
		DockerMirror: s.DockerhubMirror,
		DebugHosts:   debugHosts(s),
		MembersOnly:  s.MembersOnly,
	}
	if s.Aproxy.IsZero() {
		told.Proxy = cloudinit.Proxy(s.Proxies)
	} else {
		told.Aproxy = aproxy(s.Aproxy)
	}
	return told
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
