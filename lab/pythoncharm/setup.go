package pythoncharm

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/canonical/lxd/shared/api"
)

const (
	acl       = "github"
	bridge    = "lxdbr0"
	pool      = "runner"
	plain     = "runner"
	resources = "cpu-2-mem-7GiB-disk-10GiB"
	poolPath  = "/storage/juju"
	// host is the machine's address on the bridge. LXD itself looks for a free
	// subnet in 10.0.0.0/8 only, all of which a machine may have a route to.
	host = "192.168.187.1"
)

// SetUp makes in LXD what all units of the Python charm on a machine share.
// What is there stays as it is.
func (l Layout) SetUp() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"network ACL", l.makeACL},
		{"network", l.makeBridge},
		{"storage pool", l.makePool},
		{"profiles", l.makeProfiles},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("cannot make the Python charm's %s: %w", step.what, err)
		}
	}
	return nil
}

func (l Layout) makeACL() error {
	names, err := l.LXD.GetNetworkACLNames()
	if err != nil || slices.Contains(names, acl) {
		return err
	}
	reject := func(rule api.NetworkACLRule) api.NetworkACLRule {
		rule.Action, rule.State = "reject", "enabled"
		return rule
	}
	return l.LXD.CreateNetworkACL(api.NetworkACLsPost{
		NetworkACLPost: api.NetworkACLPost{Name: acl},
		NetworkACLPut: api.NetworkACLPut{Egress: []api.NetworkACLRule{
			reject(api.NetworkACLRule{Destination: host, Protocol: "tcp", DestinationPort: "1-8079,8081-65535"}),
			reject(api.NetworkACLRule{Destination: host, Protocol: "udp"}),
			reject(api.NetworkACLRule{Destination: host, Protocol: "icmp4"}),
			reject(api.NetworkACLRule{Destination: "::/0"}),
		}},
	})
}

func (l Layout) makeBridge() error {
	names, err := l.LXD.GetNetworkNames()
	if err != nil {
		return err
	}
	if !slices.Contains(names, bridge) {
		// What "lxd init --auto" does.
		post := api.NetworksPost{Name: bridge, Type: "bridge", NetworkPut: api.NetworkPut{Config: map[string]string{"ipv4.address": host + "/24", "ipv4.nat": "true", "ipv6.address": "none"}}}
		if err := l.LXD.CreateNetwork(post); err != nil {
			return err
		}
	}
	network, etag, err := l.LXD.GetNetwork(bridge)
	if err != nil {
		return err
	}
	put := network.Writable()
	maps.Copy(put.Config, map[string]string{"security.acls": acl, "security.acls.default.egress.action": "allow", "ipv6.address": "none"})
	return l.LXD.UpdateNetwork(bridge, put, etag)
}

func (l Layout) makePool() error {
	names, err := l.LXD.GetStoragePoolNames()
	if err != nil || slices.Contains(names, pool) {
		return err
	}
	source := cmp.Or(l.Storage, l.path(poolPath))
	if err := os.MkdirAll(source, 0o711); err != nil {
		return err
	}
	return l.LXD.CreateStoragePool(api.StoragePoolsPost{Name: pool, Driver: "dir", StoragePoolPut: api.StoragePoolPut{Config: map[string]string{"source": source}}})
}

// makeProfiles makes the two of its own, and filters on the default one.
func (l Layout) makeProfiles() error {
	names, err := l.LXD.GetProfileNames()
	if err != nil {
		return err
	}
	own := map[string]api.ProfilePut{
		plain: {},
		resources: {
			Config:  map[string]string{"limits.cpu": "2", "limits.memory": "7GiB"},
			Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": pool, "size": "10GiB"}},
		},
	}
	for name, put := range own {
		if slices.Contains(names, name) {
			continue
		}
		if err := l.LXD.CreateProfile(api.ProfilesPost{Name: name, ProfilePut: put}); err != nil {
			return err
		}
	}
	profile, etag, err := l.LXD.GetProfile("default")
	if err != nil {
		return err
	}
	put := profile.Writable()
	put.Devices = maps.Clone(put.Devices)
	if put.Devices == nil {
		put.Devices = map[string]map[string]string{}
	}
	put.Devices["eth0"] = map[string]string{
		"type": "nic", "name": "eth0", "network": bridge,
		"security.ipv4_filtering": "true", "security.ipv6_filtering": "true", "security.mac_filtering": "true", "security.port_isolation": "true",
	}
	return l.LXD.UpdateProfile("default", put, etag)
}

// Start makes and starts the instance of a runner, as the Python charm did in its
// test mode: a container that is gone when it stops. The user-data stands in for
// what that charm pushed into it.
func (l Layout) Start(ctx context.Context, name string, userData []byte) error {
	metrics, err := l.metrics(name)
	if err != nil {
		return err
	}
	operation, err := l.LXD.CreateInstance(api.InstancesPost{
		Name: name, Type: api.InstanceTypeContainer,
		Source: api.InstanceSource{Type: "image", Alias: "jammy"},
		InstancePut: api.InstancePut{
			Ephemeral: true,
			Profiles:  []string{"default", plain, resources},
			Config:    map[string]string{"cloud-init.user-data": string(userData)},
			Devices:   map[string]map[string]string{"metrics": {"type": "disk", "source": metrics, "path": "/metrics-exchange"}},
		},
	})
	if err == nil {
		err = operation.WaitContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", name, err)
	}
	operation, err = l.LXD.UpdateInstanceState(name, api.InstanceStatePut{Action: "start", Timeout: -1}, "")
	if err == nil {
		err = operation.WaitContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	return nil
}
