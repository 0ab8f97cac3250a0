package openstack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/cloudinit"
	"github-runner/charm/clouds"
	"github-runner/charm/guest"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// The options that this cloud is described by, as a person knows them.
const (
	optionClouds  = "openstack-clouds-yaml"
	optionFlavor  = "openstack-flavor"
	optionImage   = "openstack-image"
	optionNetwork = "openstack-network"
)

// How long things may take.
const (
	// callDeadline is for each call to OpenStack.
	callDeadline = 30 * time.Second
	// workDeadline is for what needs several calls.
	workDeadline = 2 * time.Minute
	// bootDeadline is for a new runner to come online: an image of some GB may
	// have to be fetched by the machine that the server is placed on.
	bootDeadline   = 20 * time.Minute
	watchdogMargin = 5 * time.Minute
	// powerOffDelay is how long a runner's server stays up after its end: what it
	// left can be fetched as long as it runs.
	powerOffDelay = 10 * time.Minute
)

// Config is all that a Cloud must be told.
type Config struct {
	// Owner is the unit whose runners these are.
	Owner runner.Owner
	// Clouds is a clouds.yaml, whose first cloud is used.
	Clouds secret.Text
	// Flavor, Network and Image are what servers are made of, each by its name or
	// ID in OpenStack.
	Flavor  string
	Network string
	Image   string
	// Keys are the unit's SSH keys: its own, and those of its runners' machines.
	Keys guest.Keys
	// Door is the way into the runners' machines; nil: none is looked into.
	Door Door
	// Sent is the image of the relation image, which takes the place of all others.
	Sent SentImage
	// ImageLock is the path of something that is there as long as the unit is, and that
	// whoever makes images locks; "": none are made.
	ImageLock string
	// ManagerAddresses are those that connections by SSH come from: nobody else
	// reaches a runner.
	ManagerAddresses []netip.Prefix
	// Arch is the architecture that the image must have where it says which it
	// has, as Go calls it: "amd64" or "arm64". "": not checked.
	Arch string
	// Policy is the service that decides whether jobs may run.
	Policy Policy
	// Settings are passed on to the runners.
	cloudinit.Settings
	// Route says by which proxy a call reaches OpenStack, as the field Proxy of an
	// http.Transport does; nil: by none. The process's environment has no say.
	Route func(*http.Request) (*url.URL, error)
	// Dial opens connections to OpenStack; nil: by TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Carry gets what carries calls to OpenStack, and returns what is called in its
	// place; nil: that itself.
	Carry func(http.RoundTripper) http.RoundTripper
	// Log gets warnings and, at level debug, every call; never a secret.
	Log *logrus.Entry
}

// Door is the way into runners' machines, as a guest.Door is one.
type Door interface {
	// Read returns the content of those of the files that are there, by path.
	Read(ctx context.Context, name string, address netip.Addr, files []guest.File) (map[string][]byte, error)
	// Await returns nil once there is something at a path, and an error when the
	// machine can't be asked.
	Await(ctx context.Context, name string, address netip.Addr, path string) error
}

// Policy is a service that decides whether a job may run; the zero value is none,
// and every job runs.
type Policy struct {
	// URL is where it is.
	URL string
	// NewToken makes the token that one runner asks with, once.
	NewToken func(ctx context.Context) (secret.Text, error)
}

func (p Policy) isOn() bool {
	return p.URL != ""
}

// Cloud is the runner.Cloud of an OpenStack project. It logs in when it is used,
// and keeps its token.
type Cloud struct {
	config  Config
	log     *logrus.Entry
	session *session
	// ground is what was found when it was last looked for.
	ground kept[ground]
	// seen are the servers that were last listed, by name.
	seen atomic.Pointer[map[string]server]
	// leftovers is set where something was seen that the making of an image may have left.
	leftovers atomic.Bool
	// swept is when ports were last swept, or the cloud was made.
	swept atomic.Pointer[time.Time]
}

// New returns the cloud that config describes. It makes no call.
func New(config Config) (*Cloud, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	cloud, err := clouds.Parse(config.Clouds)
	if err != nil {
		return nil, runner.Trouble{Advice: "set the option " + optionClouds, Err: err}
	}
	log := config.Log
	if log == nil {
		log = logrus.NewEntry(logrus.StandardLogger())
	}
	log = log.WithField("cloud", "openstack")
	made := &Cloud{config: config, log: log, session: newSession(cloud, way{dial: config.Dial, route: config.Route, carry: config.Carry}, log), ground: newKept[ground]()}
	now := time.Now()
	made.swept.Store(&now)
	return made, nil
}

// Close ends idle connections.
func (c *Cloud) Close() {
	c.session.close()
}

func (c Config) check() error {
	if c.Owner.Unit == "" {
		return fmt.Errorf("cannot use OpenStack: the unit has no name")
	}
	for option, value := range map[string]string{optionFlavor: c.Flavor, optionImage: c.Image, optionNetwork: c.Network} {
		if value == "" {
			return runner.Trouble{Advice: "set the option " + option, Err: fmt.Errorf("cannot use OpenStack: %s is not set", option)}
		}
	}
	if c.Keys.AuthorizedKey() == "" {
		return fmt.Errorf("cannot use OpenStack: the unit has no SSH keys")
	}
	if c.Policy.isOn() && c.Policy.NewToken == nil {
		return fmt.Errorf("cannot use OpenStack: the policy service has no tokens")
	}
	return c.Owner.Check()
}
