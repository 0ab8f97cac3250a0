package cloudinit

import (
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
	// Proxy is what the machine reaches the web through.
	Proxy Proxy
	// DockerMirror is the URL of a registry that mirrors Docker Hub; "": none.
	DockerMirror string
	// DebugHost is the tmate server for debugging sessions; nil: none.
	DebugHost *DebugHost
}

// Application is one build of GitHub's runner application.
type Application struct {
	// URL is where its gzipped tar file is.
	URL string
	// SHA256 is the file's checksum in hexadecimal; a file with another one is
	// not unpacked.
	SHA256 string
}

// Proxy is the proxy environment. Each field may be empty.
type Proxy struct {
	HTTP    string `json:"http,omitempty"`
	HTTPS   string `json:"https,omitempty"`
	NoProxy string `json:"no-proxy,omitempty"`
}

// DebugHost is a tmate server, as its relation describes it.
type DebugHost struct {
	Host               string `json:"host"`
	Port               int    `json:"port"`
	RSAFingerprint     string `json:"rsa-fingerprint"`
	ED25519Fingerprint string `json:"ed25519-fingerprint"`
}
