package lxd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/charm/takeover"
	emulation "github-runner/lab/lxd"
	"github-runner/lab/pythoncharm"
)

const formerRunner = "app-0-000000000000000000000001"

// formerMachine is an LXD that the Python charm has set up.
func formerMachine(t *testing.T) (*Cloud, lxd.InstanceServer, pythoncharm.Layout) {
	t.Helper()
	cloud, _, _ := emulatedCloud(t, nil)
	client, err := lxd.ConnectLXDUnixWithContext(t.Context(), cloud.config.Socket, &lxd.ConnectionArgs{SkipGetServer: true})
	if err != nil {
		t.Fatal(err)
	}
	layout := pythoncharm.Layout{Unit: "app/0", Path: "acme", Token: "ghp_example", Root: t.TempDir(), LXD: client}
	if err := layout.SetUp(); err != nil {
		t.Fatal(err)
	}
	return cloud, client, layout
}

// remains are the names of what the Python charm made in LXD, as far as it is there.
func remains(t *testing.T, client lxd.InstanceServer) []string {
	t.Helper()
	var found []string
	add := func(kind string, names []string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			found = append(found, kind+" "+name)
		}
	}
	acls, err := client.GetNetworkACLNames()
	add("acl", acls, err)
	profiles, err := client.GetProfileNames()
	add("profile", profiles, err)
	pools, err := client.GetStoragePoolNames()
	add("pool", pools, err)
	network, _, err := client.GetNetwork(formerNetwork)
	if err != nil {
		t.Fatal(err)
	}
	if acls := network.Config[keyACLs]; acls != "" {
		found = append(found, "network acls "+acls)
	}
	profile, _, err := client.GetProfile("default")
	if err != nil {
		t.Fatal(err)
	}
	if profile.Devices["eth0"]["security.port_isolation"] == "true" {
		found = append(found, "default filters")
	}
	slices.Sort(found)
	return found
}

func TestFormerSetupIsRemoved(t *testing.T) {
	cloud, client, _ := formerMachine(t)
	for range 2 {
		if err := cloud.RemoveFormerSetup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"profile default"}, remains(t, client)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	}
	network, _, err := client.GetNetwork(formerNetwork)
	if err != nil || network.Config[keyEgressAction] != "" || network.Config["ipv4.address"] == "" {
		t.Errorf("the network of LXD's own set-up: %+v, %v", network, err)
	}
	profile, _, err := client.GetProfile("default")
	want := map[string]string{"type": "nic", "name": "eth0", "network": formerNetwork}
	if diff := cmp.Diff(want, profile.Devices["eth0"]); err != nil || diff != "" {
		t.Errorf("the default profile: %v (-want +got):\n%s", err, diff)
	}
	if _, _, err := client.GetImageAlias("jammy"); err != nil {
		t.Errorf("the image: %v", err)
	}
}

func TestFormerSetupThatOthersUseStays(t *testing.T) {
	all := []string{"acl github", "default filters", "network acls github", "pool runner", "profile cpu-2-mem-7GiB-disk-10GiB", "profile default", "profile runner"}
	but := func(gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name != "profile default" && slices.Contains(gone, name) })
	}
	put := func(name string, profiles []string, config map[string]map[string]string) api.InstancesPost {
		return api.InstancesPost{
			Name: name, Type: api.InstanceTypeContainer, Source: api.InstanceSource{Type: "image", Alias: "jammy"},
			InstancePut: api.InstancePut{Profiles: profiles, Devices: config},
		}
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, client lxd.InstanceServer) error
		stay   []string
	}{
		"the ACL on another network": {func(_ *testing.T, client lxd.InstanceServer) error {
			return client.CreateNetwork(api.NetworksPost{Name: "operator0", Type: "bridge", NetworkPut: api.NetworkPut{Config: map[string]string{"ipv4.address": "192.168.188.1/24", keyACLs: formerACL}}})
		}, []string{"acl github", "profile default"}},
		"an ACL of that name that is the operator's": {func(_ *testing.T, client lxd.InstanceServer) error {
			return client.UpdateNetworkACL(formerACL, api.NetworkACLPut{Egress: []api.NetworkACLRule{{Action: "reject", State: "enabled", Destination: "10.0.0.0/8"}}}, "")
		}, []string{"acl github", "network acls github", "profile default"}},
		"an instance with that charm's profiles": {func(t *testing.T, client lxd.InstanceServer) error {
			return await(t, client, put("web", []string{"default", "runner", "cpu-2-mem-7GiB-disk-10GiB"}, nil))
		}, but("acl github", "network acls github")},
		"an instance on that charm's pool": {func(t *testing.T, client lxd.InstanceServer) error {
			return await(t, client, put("web", []string{}, map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": formerPool}}))
		}, []string{"pool runner", "profile default"}},
		"profiles of those names that are the operator's": {func(_ *testing.T, client lxd.InstanceServer) error {
			if err := client.CreateStoragePool(api.StoragePoolsPost{Name: "fast", Driver: "dir"}); err != nil {
				return err
			}
			if err := client.UpdateProfile(formerProfile, api.ProfilePut{Config: map[string]string{"limits.cpu": "1"}}, ""); err != nil {
				return err
			}
			root := map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "fast"}}
			return client.UpdateProfile("cpu-2-mem-7GiB-disk-10GiB", api.ProfilePut{Devices: root}, "")
		}, []string{"pool fast", "profile cpu-2-mem-7GiB-disk-10GiB", "profile default", "profile runner"}},
		"filters that the operator chose from": {func(_ *testing.T, client lxd.InstanceServer) error {
			eth0 := map[string]string{"type": "nic", "name": "eth0", "network": formerNetwork, "security.port_isolation": "true"}
			return client.UpdateProfile("default", api.ProfilePut{Devices: map[string]map[string]string{"eth0": eth0}}, "")
		}, []string{"default filters", "profile default"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud, client, _ := formerMachine(t)
			if err := test.change(t, client); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := cloud.RemoveFormerSetup(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.stay, remains(t, client)); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func await(t *testing.T, client lxd.InstanceServer, post api.InstancesPost) error {
	t.Helper()
	operation, err := client.CreateInstance(post)
	if err != nil {
		return err
	}
	return operation.WaitContext(t.Context())
}

func TestFormerPoolElsewhereStays(t *testing.T) {
	cloud, client, _ := formerMachine(t)
	if err := cloud.RemoveFormerSetup(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	if err := client.CreateStoragePool(api.StoragePoolsPost{Name: formerPool, Driver: "dir", StoragePoolPut: api.StoragePoolPut{Config: map[string]string{"source": source}}}); err != nil {
		t.Fatal(err)
	}
	if err := cloud.RemoveFormerSetup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(remains(t, client), "pool runner") {
		t.Error("the operator's pool is gone")
	}
}

// Only the name, the profile, that it is ephemeral, and that it is not one of ours
// make an instance the Python charm's.
func TestFormerInstances(t *testing.T) {
	cloud, client, layout := formerMachine(t)
	if err := layout.Start(t.Context(), formerRunner, nil); err != nil {
		t.Fatal(err)
	}
	like := func(change func(*api.InstancesPost)) api.InstancesPost {
		post := api.InstancesPost{
			Name: formerRunner, Type: api.InstanceTypeContainer, Source: api.InstanceSource{Type: "image", Alias: "jammy"},
			InstancePut: api.InstancePut{Ephemeral: true, Profiles: []string{"default", "runner", "cpu-2-mem-7GiB-disk-10GiB"}},
		}
		change(&post)
		return post
	}
	for name, post := range map[string]api.InstancesPost{
		"another name": like(func(p *api.InstancesPost) { p.Name = "app-0-00000000000000000000000g" }),
		"not ephemeral": like(func(p *api.InstancesPost) {
			p.Name, p.Ephemeral = strings.Replace(formerRunner, "app", "lasting", 1), false
		}),
		"other profiles": like(func(p *api.InstancesPost) {
			p.Name, p.Profiles = strings.Replace(formerRunner, "app", "plain", 1), []string{"default", "cpu-2-mem-7GiB-disk-10GiB"}
		}),
		"our metadata": like(func(p *api.InstancesPost) {
			p.Name, p.Config = strings.Replace(formerRunner, "app", "marked", 1), map[string]string{keyUnit: "app/0"}
		}),
	} {
		if err := await(t, client, post); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	neighbour := like(func(p *api.InstancesPost) { p.Name = strings.Replace(formerRunner, "app", "other", 1) })
	if err := await(t, client, neighbour); err != nil {
		t.Fatal(err)
	}
	found, err := cloud.FormerInstances(t.Context())
	want := []takeover.Instance{{Name: formerRunner, Running: true}, {Name: neighbour.Name}}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Errorf("found %v (-want +got):\n%s", err, diff)
	}
	for _, name := range []string{"app-0-00000000000000000000000g", strings.Replace(formerRunner, "app", "marked", 1)} {
		if err := cloud.RemoveFormer(t.Context(), name); err == nil {
			t.Errorf("%s was removed", name)
		}
	}
	if working, err := cloud.FormerWorking(t.Context(), formerRunner); working != runner.WorkingNo || err != nil {
		t.Errorf("without a job: %v, %v", working, err)
	}
	if working, err := cloud.FormerWorking(t.Context(), neighbour.Name); working != runner.WorkingUnknown || err == nil {
		t.Errorf("where nothing can be run: %v, %v", working, err)
	}
	for range 2 {
		if err := cloud.RemoveFormer(t.Context(), formerRunner); err != nil {
			t.Fatal(err)
		}
	}
	if working, err := cloud.FormerWorking(t.Context(), formerRunner); working != runner.WorkingNo || err != nil {
		t.Errorf("of one that is gone: %v, %v", working, err)
	}
	names, err := client.GetInstanceNames(api.InstanceTypeAny)
	if err != nil || slices.Contains(names, formerRunner) || len(names) != 5 {
		t.Errorf("instances are %v, %v", names, err)
	}
}

// LXD empties the folder of a pool that it deletes.
func TestFormerPoolBesideOursStays(t *testing.T) {
	cloud, client, layout := formerMachine(t)
	cloud.config.StoragePath = filepath.Join(layout.Root, "storage/juju")
	own := cloud.ground().base()
	if err := errors.Join(os.MkdirAll(own, 0o755), os.Mkdir(filepath.Join(cloud.config.StoragePath, "containers"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := cloud.RemoveFormerSetup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(remains(t, client), "pool runner") {
		t.Error("the pool is gone")
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("what this unit's pool is made on: %v", err)
	}
	if err := cloud.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(remains(t, client), "pool runner") {
		t.Error("the pool is there after the unit")
	}
}

func TestFormerRemains(t *testing.T) {
	cloud, _, _ := emulatedCloud(t, nil)
	dir := t.TempDir()
	write := func(runner, name, content string) {
		t.Helper()
		path := filepath.Join(dir, runner, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("whole", "pre-job-metrics.json", "{}")
	write("whole", "post-job-metrics.json", "[]")
	write("whole", formerInstalled, "1720000000.25\n")
	for _, stamp := range []string{"-1", "NaN", "Inf", "1e300", "", "soon", strings.Repeat("1", maxMetricsFile+1)} {
		write("stamp"+stamp[:min(len(stamp), 10)], formerInstalled, stamp)
	}
	write("endless", "pre-job-metrics.json", strings.Repeat(" ", maxMetricsFile+1))
	write("linked", "x", "")
	if err := os.Symlink(filepath.Join(dir, "whole", "pre-job-metrics.json"), filepath.Join(dir, "linked", "pre-job-metrics.json")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		var want runner.Remains
		var online time.Time
		if entry.Name() == "whole" {
			want, online = runner.Remains{PreJob: []byte("{}"), PostJob: []byte("[]")}, time.UnixMilli(1720000000250)
		}
		got, came := cloud.FormerRemains(dir, entry.Name())
		if diff := cmp.Diff(want, got); diff != "" || !came.Equal(online) {
			t.Errorf("%s: came %v (-want +got):\n%s", entry.Name(), came, diff)
		}
	}
}

// A command in an instance has been seen to hang for ever.
func TestFormerThatDoesNotAnswer(t *testing.T) {
	cloud, _, control := emulatedCloud(t, nil)
	client, err := lxd.ConnectLXDUnixWithContext(t.Context(), cloud.config.Socket, &lxd.ConnectionArgs{SkipGetServer: true})
	if err != nil {
		t.Fatal(err)
	}
	layout := pythoncharm.Layout{Unit: "app/0", Root: t.TempDir(), LXD: client}
	if err := errors.Join(layout.SetUp(), layout.Start(t.Context(), formerRunner, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: emulation.ExecHangs, Name: formerRunner}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if working, err := cloud.FormerWorking(ctx, formerRunner); working != runner.WorkingUnknown || err == nil {
		t.Errorf("of one that does not answer: %v, %v", working, err)
	}
}
