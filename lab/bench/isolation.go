package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/secret"
	"github-runner/lab"
)

const (
	// isolationTarget is how much longer isolated containers may need.
	isolationTarget = 1.10
	// isolationCount is how many start at once.
	isolationCount = 4
	// isolationDenylist has what an operator closes: all private networks.
	isolationDenylist = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10"
)

// side is one of the ways to start containers that are compared.
type side struct {
	name string
	*floor
	times []start
}

// isolation measures what it costs to shut runners off. All sides are a plain
// loop over LXD's API. Isolated containers have the profile and the network that
// the charm made: its network ACL with a denylist, its rules for the machine,
// filters at each container's interface; open ones a copy of both without these.
// The third side has a folder for exchange and a proxy as well.
func (s *session) isolation(ctx context.Context) (results []Result, err error) {
	on, err := s.stage(ctx)
	if err != nil {
		return nil, err
	}
	if on.cloud == lab.CloudEmulated {
		s.skip("isolation: an emulated container is not isolated; this needs real LXD")
		return nil, nil
	}
	u, err := newUnit(on, s.Charm, "isolated/0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.remove(context.WithoutCancel(ctx))) }()
	u.config["denylist"] = isolationDenylist
	s.say("isolation: warming up")
	if _, err := u.scale(ctx, 1); err != nil {
		return nil, err
	}
	s.report.Machine.Cloud = on.describe(ctx)
	sides := []*side{{name: "open"}, {name: "isolated"}, {name: "isolated, exchange, proxy"}}
	for _, one := range sides {
		if one.floor, err = newFloor(ctx, u); err != nil {
			return nil, err
		}
		defer one.floor.close()
		one.bare, one.weigh = true, true
	}
	remove, err := sides[0].open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	sides[2].bare = false
	if sides[2].proxy, err = proxyBeside(on.githubURL); err != nil {
		return nil, err
	}
	if _, err := u.scale(ctx, 0); err != nil {
		return nil, err
	}
	return s.compare(ctx, sides)
}

// compare starts containers of all sides in turns, and puts the first side under
// the others.
func (s *session) compare(ctx context.Context, sides []*side) (results []Result, err error) {
	count := s.sizes(isolationCount)[0]
	for round := range s.Rounds {
		said := ""
		for turn := range sides {
			one := sides[(round+turn)%len(sides)]
			started, err := one.start(ctx, count)
			if err != nil {
				return nil, err
			}
			one.times = append(one.times, started)
			said += fmt.Sprintf("; %s %.2f s, %.2f s of CPU", one.name, started.Online.Seconds(), started.Work.Seconds())
		}
		s.say("isolation: %d, round %d of %d%s", count, round+1, s.Rounds, said)
	}
	for i, one := range sides[1:] {
		online := Result{
			Benchmark: "isolation",
			Case:      fmt.Sprintf("%d %s", count, one.name),
			Figure:    "until all are online at GitHub",
			Unit:      "s",
			Charm:     spreadOf(one.times, onlineSeconds),
		}.against(spreadOf(sides[0].times, onlineSeconds))
		if i == 0 {
			online = online.within(Target{Ratio: true, Most: isolationTarget})
		}
		work := Result{
			Benchmark: "isolation",
			Case:      online.Case,
			Figure:    "CPU of LXD and the containers",
			Unit:      "s",
			Charm:     spreadOf(one.times, workSeconds),
		}.against(spreadOf(sides[0].times, workSeconds))
		results = append(results, online, work)
	}
	return results, nil
}

// proxyBeside is a proxy that nobody needs: runners reach GitHub without it.
func proxyBeside(githubURL string) (cloudinit.Proxy, error) {
	github, err := url.Parse(githubURL)
	if err != nil {
		return cloudinit.Proxy{}, fmt.Errorf("cannot set up a proxy: %w", err)
	}
	return cloudinit.Proxy{
		HTTP:    secret.New("http://proxy.invalid:3128"),
		HTTPS:   secret.New("http://proxy.invalid:3128"),
		NoProxy: github.Hostname(),
	}, nil
}

// open gives the floor's containers a copy of their profile and of its network
// without anything that isolates. What it returns removes both.
func (f *floor) open() (remove func() error, err error) {
	profile, _, err := f.server.GetProfile(f.profiles[0])
	if err != nil {
		return nil, fmt.Errorf("cannot copy the charm's profile: %w", err)
	}
	nic := profile.Devices["eth0"]
	network, _, err := f.server.GetNetwork(nic["network"])
	if err != nil {
		return nil, fmt.Errorf("cannot copy the charm's network: %w", err)
	}
	var random [4]byte
	rand.Read(random[:]) // never fails, by its contract
	name := "open" + hex.EncodeToString(random[:])
	config, err := openConfig(network.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a network without isolation: %w", err)
	}
	err = f.server.CreateNetwork(api.NetworksPost{
		Name: name, Type: "bridge",
		NetworkPut: api.NetworkPut{Config: config},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make a network without isolation: %w", err)
	}
	profile.Devices["eth0"] = map[string]string{"type": "nic", "name": "eth0", "network": name}
	err = f.server.CreateProfile(api.ProfilesPost{Name: name, ProfilePut: profile.Writable()})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a profile without isolation: %w", err), f.server.DeleteNetwork(name))
	}
	server := f.server
	f.profiles = []string{name}
	return func() error { return removeOpen(server, name) }, nil
}

// openConfig is a bridge's configuration without what isolates, and with a subnet
// of its own.
func openConfig(isolated map[string]string) (map[string]string, error) {
	config := maps.Clone(isolated)
	maps.DeleteFunc(config, func(key, _ string) bool {
		return strings.HasPrefix(key, "security.") || strings.HasPrefix(key, "volatile.")
	})
	gateway, err := netip.ParsePrefix(isolated["ipv4.address"])
	if err != nil {
		return nil, err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var taken []netip.Prefix
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			taken = append(taken, prefix)
		}
	}
	config["ipv4.address"] = subnetBeside(gateway, taken).String()
	return config, nil
}

// subnetBeside returns the first address, with its subnet, of the next subnet of
// the same size in which nothing is taken. The machine's own addresses are among
// those: a container that got one of them would reach nobody.
func subnetBeside(gateway netip.Prefix, taken []netip.Prefix) netip.Prefix {
	next := gateway.Masked().Addr().As4()
	size := uint32(1) << (32 - gateway.Bits())
	for {
		binary.BigEndian.PutUint32(next[:], binary.BigEndian.Uint32(next[:])+size)
		subnet := netip.PrefixFrom(netip.AddrFrom4(next), gateway.Bits())
		if !slices.ContainsFunc(taken, subnet.Overlaps) {
			return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
		}
	}
}

func removeOpen(server client.InstanceServer, name string) error {
	if err := errors.Join(server.DeleteProfile(name), server.DeleteNetwork(name)); err != nil {
		return fmt.Errorf("cannot remove the network without isolation: %w", err)
	}
	return nil
}
