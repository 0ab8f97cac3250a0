package state

import (
	"net/netip"
	"time"

	"github-runner/charm/runner"
)

// CharmState is everything that a unit was asked for, checked and complete.
// It is a value: nobody changes one, a new configuration makes a new one.
//
// It holds secrets: those in Credential and OpenStack, and the URLs in Proxies, which
// may carry a password. They print as [redacted].
type CharmState struct {
	// Owner is the unit, and so the owner of all runners made from this state.
	Owner runner.Owner
	// Scope is where runners register.
	Scope runner.Scope
	// GitHubURL is the address of the GitHub server's web pages, without a
	// slash at its end.
	GitHubURL string
	// Credential is for GitHub's API.
	Credential Credential
	// Group is the organisation's runner group; empty for a repository, which
	// has none.
	Group string
	// Labels are all labels that runners register with, lower-case and each
	// one once: GitHub adds none to a runner with a JIT configuration.
	Labels []string

	// Count is how many runners there should be.
	Count int
	// ReconcileInterval is the time between two looks without a reason.
	ReconcileInterval time.Duration

	// BaseImage is the alias of the runners' image, such as "noble".
	BaseImage string
	// ImageSource is where the image comes from that BaseImage names.
	ImageSource ImageSource
	// ImageLife is how long a runner image is used before the unit makes another; 0
	// where it makes none by itself.
	ImageLife time.Duration
	// ImagePackages are more packages of the distribution for runner images, sorted
	// and each one once.
	ImagePackages []string
	// ImageScript is a program that root runs in a runner image at the end of its
	// making; empty when there is none.
	ImageScript string
	// ImageRelation is what the relation image says of the runners' image. Its tags
	// are among Labels.
	ImageRelation ImageRelation
	// OpenStack is where the runners are; its zero value where they are on LXD.
	OpenStack OpenStack
	// InstanceType is what a runner's machine is on LXD; empty on OpenStack, as
	// Resources and Storage are.
	InstanceType InstanceType
	// Resources is what each runner's machine gets.
	Resources Resources
	// Storage is what the disks of the runners' machines are kept on.
	Storage Storage
	// Arch is the architecture of the unit's machine, and of its runners.
	Arch Arch

	// Denylist are the networks that runners may not reach.
	Denylist []netip.Prefix
	// DockerhubMirror is the https URL of a registry that mirrors Docker Hub,
	// as the user wrote it; empty when there is none.
	DockerhubMirror string
	// Proxies are the model's proxies.
	Proxies Proxies
	// Aproxy makes runners send their traffic to the proxy transparently rather
	// than by environment variables.
	Aproxy Aproxy
	// DebugHosts are the servers for debugging sessions, in order of address
	// and port.
	DebugHosts []DebugHost

	// MembersOnly refuses jobs that people start by pull requests and comments who
	// are neither members of the organisation nor collaborators.
	MembersOnly bool

	// Warnings are what is wrong, but no reason to stop: one line each.
	Warnings []string
}

// Resources is the size of one runner's machine.
type Resources struct {
	CPU int
	// Memory and Disk are in bytes.
	Memory int64
	Disk   int64
}

// InstanceType is a kind of LXD instance, by LXD's own name for it.
type InstanceType string

// The kinds of instance that runners can be.
const (
	VirtualMachine InstanceType = "virtual-machine"
	Container      InstanceType = "container"
)

// Storage is what keeps the runners' disks.
type Storage string

// The values of the option runner-storage.
const (
	// JujuStorage is the filesystem that Juju attached as storage "runner", or
	// the machine's pool where none is attached.
	JujuStorage Storage = "juju-storage"
	// MemoryStorage is the machine's memory.
	MemoryStorage Storage = "memory"
)

// Arch is a processor architecture by the name that Ubuntu and LXD's images
// give it.
type Arch string

// The architectures that GitHub's runner application exists for and Juju's
// machines have.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// Label is GitHub's name for the architecture, as in a runner's labels and in
// its list of downloads.
func (a Arch) Label() string {
	if a == AMD64 {
		return "x64"
	}
	return string(a)
}

// DebugHost is a server that offers debugging sessions over SSH.
type DebugHost struct {
	Host netip.Addr
	Port uint16
	// The fingerprints of its host keys, each with the prefix "SHA256:".
	RSAFingerprint     string
	Ed25519Fingerprint string
}
