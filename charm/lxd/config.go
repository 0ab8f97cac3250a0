package lxd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// The kinds of instances, in LXD's own words.
const (
	Container      = "container"
	VirtualMachine = "virtual-machine"
)

// The kinds of storage that runner-storage names.
const (
	// JujuStorage is the storage that Juju attached, or the machine's shared
	// pool where nothing is attached.
	JujuStorage = "juju-storage"
	// MemoryStorage is a pool of the unit's own in memory.
	MemoryStorage = "memory"
)

// How long calls to the daemon may take.
const (
	callDeadline     = 30 * time.Second
	createDeadline   = 5 * time.Minute
	watchdogMargin   = 5 * time.Minute
	neverStartedTime = 30 * time.Second
)

// How long a new runner may take to come online. An image need not have the
// runner application: its 200 MB are downloaded then, for which both leave 5
// minutes.
const (
	containerBoot = 8 * time.Minute
	virtualBoot   = 10 * time.Minute
)

// Config is all that a Cloud must be told.
type Config struct {
	// Owner is the unit whose runners these are.
	Owner runner.Owner
	// Socket is the daemon's socket. "": $LXD_DIR/unix.socket, that of the
	// snap or that of Debian's package, whichever exists.
	Socket string
	// ExchangeDir is the folder for the exchange folders of all runners.
	ExchangeDir string
	// ImageAlias is the release of the stock image: "noble". Runners start from it, or
	// from an image that was made of it.
	ImageAlias string
	// ImageSource is where the stock image is. In LXD it has that name, where the source
	// is not a named one, or another that says where it was downloaded from.
	ImageSource ImageSource
	// ImageLock is a file or folder that is there as long as the unit is, the same for
	// all units of the machine: who holds its lock makes images. "": nobody does.
	ImageLock string
	// ImageVariant tells the image that this unit's runners start from apart from those
	// that the machine's other units make of the same stock image; "" for the plain one.
	// With PlainImage they start from the plain one while there is none of the variant.
	ImageVariant string
	PlainImage   bool
	// Sent is the image that another application has runners start from, in the
	// place of all others.
	Sent SentImage
	// Arch is the architecture that the image must have, as Go calls it:
	// "amd64" or "arm64". "": not checked.
	Arch string
	// InstanceType is Container or VirtualMachine.
	InstanceType string
	// CPU is the number of processors of a runner.
	CPU int
	// Memory and Disk are a runner's, in bytes.
	Memory int64
	Disk   int64
	// StorageKind is JujuStorage or MemoryStorage.
	StorageKind string
	// StoragePath is where Juju attached the storage; "": nothing is attached.
	StoragePath string
	// Denylist are the networks that runners may not reach. What Proxy,
	// DockerMirror and DebugHosts name by address stays reachable, on its port.
	Denylist []netip.Prefix
	// Policy is the service on the machine's address on the unit's bridge that
	// decides whether jobs may run.
	Policy Policy
	// Settings are passed on to the runners.
	cloudinit.Settings
	// Root is a prefix of the host's folders that Install writes to; "" but in
	// tests.
	Root string
	// Host is the machine's own side, another than this one's in simulations.
	Host Host
	// Log gets warnings and progress; never a secret.
	Log *logrus.Entry
}

// ImageSource is where the stock image is; with the zero value it is in LXD, by the
// name of its release.
type ImageSource struct {
	// Server is a URL with the protocol simplestreams, from which LXD downloads the
	// image; "": the image is in LXD.
	Server string
	// Alias is the image's name there.
	Alias string
	// Named is set where no other source will do.
	Named bool
}

// Policy is the policy service of a unit; the zero value is none, and every job
// runs.
type Policy struct {
	// Port is its TCP port, which runners may reach beside DNS and DHCP.
	Port uint16
	// NewToken makes the token that a runner asks with, once.
	NewToken func(runner string) (secret.Text, error)
	// Forget removes the tokens of a runner that is gone.
	Forget func(runner string) error
}

// isOn reports whether there is a service.
func (p Policy) isOn() bool {
	return p.Port != 0
}

// Cloud is the runner.Cloud of an LXD daemon. It connects when it is used: the
// daemon may be missing, or restart, at any time.
type Cloud struct {
	config Config
	log    *logrus.Entry
	// power is since when instances are off.
	power powerLog
	// patience is downloadPatience but in tests.
	patience time.Duration
	// plain is set once it was said that exchange folders are plain ones.
	plain atomic.Bool
}

// New returns the cloud that config describes, without touching the daemon.
func New(config Config) (*Cloud, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	log := config.Log
	if log == nil {
		log = logrus.NewEntry(logrus.StandardLogger())
	}
	return &Cloud{config: config, log: log.WithField("cloud", "lxd"), patience: downloadPatience}, nil
}

func (c Config) check() error {
	switch {
	case c.Owner.Unit == "":
		return fmt.Errorf("cannot use LXD: the unit has no name")
	case !filepath.IsAbs(c.ExchangeDir):
		return fmt.Errorf("cannot use LXD: exchange folder %q is not an absolute path", c.ExchangeDir)
	case c.InstanceType != Container && c.InstanceType != VirtualMachine:
		return fmt.Errorf("cannot use LXD: lxd-instance-type %q is neither %s nor %s", c.InstanceType, Container, VirtualMachine)
	case c.StorageKind != JujuStorage && c.StorageKind != MemoryStorage:
		return fmt.Errorf("cannot use LXD: runner-storage %q is neither %s nor %s", c.StorageKind, JujuStorage, MemoryStorage)
	case c.Policy.isOn() && (c.Policy.NewToken == nil || c.Policy.Forget == nil):
		return fmt.Errorf("cannot use LXD: the policy service has no tokens")
	}
	return c.Owner.Check()
}

// socket is where the daemon listens, or would.
func (c Config) socket() string {
	if c.Socket != "" {
		return c.Socket
	}
	if dir := os.Getenv("LXD_DIR"); dir != "" {
		return filepath.Join(dir, "unix.socket")
	}
	if _, err := os.Stat(snapSocket); err == nil {
		return snapSocket
	}
	return debianSocket
}

const (
	snapSocket   = "/var/snap/lxd/common/lxd/unix.socket"
	debianSocket = "/var/lib/lxd/unix.socket"
)

// networkPrefix begins the names of the bridges of all units.
const networkPrefix = "ghr-"

// unitName is what the unit's own bridge and ACL are called, and what the names
// of its profiles and pools start with. Bridges allow 15 characters.
func (c Config) unitName() string {
	sum := sha256.Sum256([]byte(c.Owner.ModelUUID + "\x00" + c.Owner.Unit))
	return networkPrefix + hex.EncodeToString(sum[:4])
}

// ownedByUnit reports whether a profile or pool is one of this unit's.
func (c Config) ownedByUnit(name string) bool {
	return strings.HasPrefix(name, c.unitName()+"-")
}

func (c Config) bootDeadline() time.Duration {
	if c.InstanceType == VirtualMachine {
		return virtualBoot
	}
	return containerBoot
}
