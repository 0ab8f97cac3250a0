package cloudinit

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github-runner/charm/secret"
)

// Machine is everything that a runner's user-data is rendered from: plain
// facts, whoever made them.
type Machine struct {
	// Name is the machine's and the runner's name.
	Name string
	// JIT is the encoded JIT configuration: single-use credentials.
	JIT secret.Text
	// Application is downloaded when the image has no runner application.
	Application Application
	// PowerOffDelay is how long the machine stays up after the runner's end, so
	// that somebody can fetch what it left. Zero: it powers off at once.
	PowerOffDelay time.Duration
	// ExchangeMounted tells that ExchangeDir will be a mount point: nothing
	// starts before it is.
	ExchangeMounted bool
	// OnlineDeadline is when the machine's own watchdog ends a runner that never
	// came online, counted from the start of the service.
	OnlineDeadline time.Duration
	// Proxy is what programs in the machine are told to reach the web through.
	Proxy Proxy
	// Aproxy is what their connections are redirected to, whatever they were
	// told.
	Aproxy Aproxy
	// DockerMirror is the URL of a registry that mirrors Docker Hub; "": none.
	DockerMirror string
	// DebugHost is the tmate server for debugging sessions; nil: none.
	DebugHost *DebugHost
	// Policy is asked before the job's first step whether the job may run; nil:
	// nobody is.
	Policy *Policy
	// MembersOnly refuses jobs that outsiders start by pull requests and comments.
	MembersOnly bool
	// SSH lets somebody fetch what the runner left; nil: the image's own settings
	// are in force.
	SSH *SSH
}

// SSH is what the machine's SSH server is given.
type SSH struct {
	// AuthorizedKey is who may log in as User: a line of authorized_keys.
	AuthorizedKey string
	// HostKey is the server's ed25519 key, in OpenSSH's format. It has no other.
	HostKey secret.Text
	// HostPublicKey is the public part of HostKey.
	HostPublicKey string
}

// Policy is a service that decides whether a job may run.
type Policy struct {
	// URL is where it is: http or https, a host, and perhaps a path.
	URL string
	// Token is good for one question.
	Token secret.Text
}

// PolicyPatience is how long a runner tries to connect to the policy service, and to ask
// again where the connection ends without an answer, as when the service restarts.
const PolicyPatience = 2 * time.Minute

// Checks is what a job must pass before its first step.
type Checks struct {
	PolicyURL string `json:"policy_url,omitempty"`
	// Patience is in seconds.
	Patience    int  `json:"patience,omitempty"`
	MembersOnly bool `json:"members_only,omitempty"`
}

func (m Machine) checks() Checks {
	checks := Checks{MembersOnly: m.MembersOnly}
	if m.Policy != nil {
		checks.PolicyURL, checks.Patience = m.Policy.URL, int(PolicyPatience.Seconds())
	}
	return checks
}

// policyAddress is the policy service's address where its URL has one, nil
// otherwise.
func (m Machine) policyAddress() *netip.AddrPort {
	if m.Policy == nil {
		return nil
	}
	parsed, err := url.Parse(m.Policy.URL)
	if err != nil {
		return nil
	}
	address, err := netip.ParseAddrPort(parsed.Host)
	if err != nil || !address.Addr().Is4() {
		return nil
	}
	return &address
}

// Application is one build of GitHub's runner application.
type Application struct {
	// URL is where its gzipped tar file is.
	URL string
	// SHA256 is the file's checksum in hexadecimal; a file with another one is
	// not unpacked.
	SHA256 string
}

// Proxy is the proxy environment. Each field may be empty; a machine with a
// proxy adds itself to NoProxy. The URLs may hold passwords.
type Proxy struct {
	HTTP    secret.Text
	HTTPS   secret.Text
	NoProxy string
}

// IsZero reports whether there is no proxy.
func (p Proxy) IsZero() bool {
	return p.HTTP.IsZero() && p.HTTPS.IsZero()
}

// Aproxy is the settings of aproxy, which forwards redirected connections to an
// HTTP proxy. Ranges must not overlap. The zero value is none.
type Aproxy struct {
	// Proxy is "host:port" of the proxy, which asks for no password.
	Proxy string `json:"proxy"`
	// Exclude are the IPv4 addresses that are reached directly.
	Exclude []AddrRange `json:"exclude"`
	// Ports are those whose connections are redirected.
	Ports []PortRange `json:"ports"`
}

// IsZero reports whether connections are left as they are.
func (a Aproxy) IsZero() bool {
	return a.Proxy == ""
}

// AddrRange is all IPv4 addresses from the first to the last.
type AddrRange struct {
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"`
}

// String is the range as nftables writes it.
func (r AddrRange) String() string {
	return fmt.Sprintf("%s-%s", r.From, r.To)
}

// PortRange is all TCP ports from the first to the last.
type PortRange struct {
	From uint16 `json:"from"`
	To   uint16 `json:"to"`
}

// String is the range as nftables writes it.
func (r PortRange) String() string {
	return fmt.Sprintf("%d-%d", r.From, r.To)
}
