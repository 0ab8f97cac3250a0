package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github-runner/charm/guest"
	"github-runner/charm/metrics"
	"github-runner/charm/openstack"
	"github-runner/charm/policy"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

const (
	// serverCreates is how many servers are made at a time: OpenStack places them on
	// machines of its own.
	serverCreates = 30
	// serverPoll is how often a cloud without events is looked at while something is
	// in flight there.
	serverPoll = 3 * time.Second
	// guestSecret is the file in the unit's folder that its SSH keys come from.
	guestSecret = "guest-secret"
)

// OpenStackWay is the way to an OpenStack, and into the machines there.
type OpenStackWay struct {
	// Dial opens connections to OpenStack, Carry wraps what carries calls there, Guests
	// opens connections to the SSH servers of machines; nil: as the machine does.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Carry  func(http.RoundTripper) http.RoundTripper
	Guests func(ctx context.Context, network, address string) (net.Conn, error)
}

// onOpenStack is the place of runners in an OpenStack.
func (a Assembler) onOpenStack(s state.CharmState, m unit.Materials, to outside) (place, error) {
	config, err := a.openStackConfig(s, m)
	if err != nil {
		return place{}, err
	}
	cloud, err := openstack.New(config)
	if err != nil {
		return place{}, err
	}
	limits := runner.DefaultLimits(runtime.NumCPU())
	limits.Creates, limits.Poll = serverCreates, serverPoll
	return place{
		cloud:  cloud,
		host:   openStackHost{to.log},
		former: a.former(s, m, noMachines{}, to),
		images: images{cloud.Images(), s, applicationFor(s, to.unheld)},
		limits: limits,
		close:  cloud.Close,
	}, nil
}

func (a Assembler) openStackConfig(s state.CharmState, m unit.Materials) (openstack.Config, error) {
	keys, err := guest.LoadKeys(m.Dir.Path(guestSecret))
	var corrupt *unitdir.CorruptError
	if errors.As(err, &corrupt) {
		m.Log.WithError(err).Warn("what runners that are there leave can't be fetched any more")
	} else if err != nil {
		return openstack.Config{}, err
	}
	config := openstack.Config{
		Owner:            s.Owner,
		Clouds:           s.OpenStack.Clouds,
		Flavor:           s.OpenStack.Flavor,
		Network:          s.OpenStack.Network,
		Image:            s.OpenStack.Image,
		Keys:             keys,
		Door:             guest.Door{Keys: keys, ProxyCommand: s.OpenStack.ProxyCommand, Dial: a.OpenStack.Guests},
		Sent:             openstack.SentImage(s.ImageRelation),
		ImageLock:        m.Dir.Path(),
		ManagerAddresses: s.OpenStack.ManagerAddresses,
		Arch:             string(s.Arch),
		Settings:         settings(s),
		Route:            route(s.Proxies),
		Dial:             a.OpenStack.Dial,
		Carry:            a.OpenStack.Carry,
		Log:              m.Log,
	}
	if len(config.ManagerAddresses) == 0 {
		if config.ManagerAddresses, err = ownAddresses(); err != nil {
			return openstack.Config{}, err
		}
	}
	if s.OpenStack.PolicyURL != "" {
		config.Policy = externalPolicy(s)
	}
	return config, nil
}

// ownAddresses are those of the unit's machine that others may see.
func ownAddresses() ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot find the addresses of the unit's machine: %w", err)
	}
	var own []netip.Prefix
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil || prefix.Addr().IsLoopback() || prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		own = append(own, netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen()))
	}
	return own, nil
}

// externalPolicy is the service that the options name, reached by the model's proxies
// as GitHub is.
func externalPolicy(s state.CharmState) openstack.Policy {
	client := policy.Client{
		URL: s.OpenStack.PolicyURL, Token: s.OpenStack.PolicyToken,
		Transport: &http.Transport{Proxy: route(s.Proxies), DisableKeepAlives: true},
	}
	return openstack.Policy{
		URL:      client.URL,
		NewToken: func(ctx context.Context) (secret.Text, error) { return client.Issue(ctx) },
	}
}

// route tells calls by which of the model's proxies they go, as those of GitHub do.
func route(by state.Proxies) func(*http.Request) (*url.URL, error) {
	given := httpproxy.Config{HTTPProxy: by.HTTP.Reveal(), HTTPSProxy: by.HTTPS.Reveal(), NoProxy: by.NoProxy}
	proxy := given.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
}

// openStackHost is the unit's machine, where nothing but the rotation of the metrics
// log is needed.
type openStackHost struct {
	log metrics.Log
}

// Install implements unit.Host.
func (h openStackHost) Install(context.Context, func(string)) error {
	return h.log.WriteLogrotate()
}

// Installed implements unit.Host.
func (openStackHost) Installed() bool {
	return true
}

// noMachines are those of the Python charm on a unit with OpenStack: it had none on the
// unit's machine. Its servers are another owner's: docs/openstack.md says how to end
// them.
type noMachines struct{}

func (noMachines) FormerInstances(context.Context) ([]takeover.Instance, error) { return nil, nil }

func (noMachines) FormerWorking(context.Context, string) (runner.Working, error) {
	return runner.WorkingUnknown, nil
}

func (noMachines) RemoveFormer(context.Context, string) error { return nil }

func (noMachines) FormerRemains(string, string) (runner.Remains, time.Time) {
	return runner.Remains{}, time.Time{}
}

func (noMachines) RemoveFormerSetup(context.Context) error { return nil }
