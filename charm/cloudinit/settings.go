package cloudinit

import (
	"fmt"
	"slices"
	"strings"
)

// Settings are what a unit's runners are told alike, whatever cloud they are on.
type Settings struct {
	// Proxy, Aproxy and DockerMirror are each machine's.
	Proxy        Proxy
	Aproxy       Aproxy
	DockerMirror string
	// DebugHosts are the tmate servers of which one is chosen for each machine.
	DebugHosts []DebugHost
	// MembersOnly refuses jobs that outsiders start by pull requests and comments.
	MembersOnly bool
}

// DebugHost is a tmate server, as its relation describes it.
type DebugHost struct {
	Host               string `json:"host"`
	Port               int    `json:"port"`
	RSAFingerprint     string `json:"rsa-fingerprint"`
	ED25519Fingerprint string `json:"ed25519-fingerprint"`
}

// Inputs are settings as they go into the hash of what a runner is made from. Runners
// with another hash are replaced: fields are never reordered or renamed without raising
// the templates' versions.
type Inputs struct {
	Proxy        proxyInputs `json:"proxy"`
	Aproxy       Aproxy      `json:"aproxy"`
	DockerMirror string      `json:"docker-mirror"`
	DebugHosts   []DebugHost `json:"debug-hosts"`
	Policy       string      `json:"policy,omitempty"`
	MembersOnly  bool        `json:"members-only,omitempty"`
}

// proxyInputs are in clear, because a secret prints the same whatever it is.
type proxyInputs struct {
	HTTP    string `json:"http,omitempty"`
	HTTPS   string `json:"https,omitempty"`
	NoProxy string `json:"no-proxy,omitempty"`
}

// Inputs returns the settings as they are hashed, with the URL of the policy service;
// "": there is none. They hold the proxies' passwords in clear.
func (s Settings) Inputs(policyURL string) Inputs {
	return Inputs{
		Proxy:        proxyInputs{s.Proxy.HTTP.Reveal(), s.Proxy.HTTPS.Reveal(), s.Proxy.NoProxy},
		Aproxy:       s.Aproxy,
		DockerMirror: s.DockerMirror,
		DebugHosts:   canonical(s.DebugHosts),
		Policy:       policyURL,
		MembersOnly:  s.MembersOnly,
	}
}

// canonical is the set of debug hosts: their order says nothing, as one of them is
// chosen for each machine.
func canonical(hosts []DebugHost) []DebugHost {
	result := slices.Clone(hosts)
	slices.SortFunc(result, func(a, b DebugHost) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return slices.Compact(result)
}
