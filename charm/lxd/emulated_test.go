package lxd

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	emulation "github-runner/lab/lxd"
)

// emulatedCloud is a cloud on an emulated daemon that holds nothing yet, whose
// faults are asked for through the control.
func emulatedCloud(t *testing.T, change func(*Config)) (*Cloud, server, *emulation.Control) {
	t.Helper()
	return emulatedCloudAt(t, emulation.Quick(), change)
}

// emulatedCloudAt is an emulatedCloud that takes its time.
func emulatedCloudAt(t *testing.T, timing emulation.Timing, change func(*Config)) (*Cloud, server, *emulation.Control) {
	t.Helper()
	// The path of a socket has little room: names of tests don't fit into it.
	dir, err := os.MkdirTemp("", "lxd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	daemon, err := emulation.New(emulation.Options{Dir: dir, Timing: timing})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- daemon.Serve(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Socket = daemon.Socket()
	if change != nil {
		change(&config)
	}
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	connection, closed, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closed)
	return cloud, connection, emulation.Dial(daemon.ControlSocket())
}

func countOf[T any](t *testing.T, list func() ([]T, error)) int {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestPrepareForNoRunnersMakesNothing(t *testing.T) {
	// The emulated daemon has the image noble for containers only.
	for kind, image := range map[string]string{Container: "missing", VirtualMachine: "noble"} {
		cloud, server, _ := emulatedCloud(t, func(c *Config) {
			c.InstanceType, c.ImageAlias = kind, image
			c.StoragePath = "/nowhere"
		})
		// LXD lists the machine's interfaces, too, and others change those.
		managed := func() ([]api.Network, error) {
			networks, err := server.GetNetworks()
			return slices.DeleteFunc(networks, func(n api.Network) bool { return !n.Managed }), err
		}
		networks, pools, profiles := countOf(t, managed), countOf(t, server.GetStoragePools), countOf(t, server.GetProfiles)
		template, err := cloud.Prepare(t.Context(), runner.Want{})
		if err != nil || template.Hash != "" {
			t.Errorf("%s: template %+v, %v", kind, template, err)
		}
		if countOf(t, managed) != networks || countOf(t, server.GetStoragePools) != pools || countOf(t, server.GetProfiles) != profiles {
			t.Errorf("%s: something was made for no runners", kind)
		}
		if _, _, err := server.GetNetworkACL(cloud.config.unitName()); !errors.Is(classify(err), runner.ErrNotFound) {
			t.Errorf("%s: an ACL was made for no runners: %v", kind, err)
		}
	}
}

// Runners that exist must not reach more because none can be made.
func TestIsolationIsKeptUpWithoutAnImage(t *testing.T) {
	cloud, server, _ := emulatedCloud(t, func(c *Config) { c.ImageAlias = "missing" })
	var trouble runner.Trouble
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); !errors.As(err, &trouble) {
		t.Fatalf("Prepare without an image: %v", err)
	}
	name := cloud.config.unitName()
	denied := []string{"198.18.4.0/24", "198.18.5.0/24"}
	for _, count := range []int{0, 1} {
		cloud.config.Denylist = prefixes(denied[count])
		if _, err := cloud.Prepare(t.Context(), runner.Want{Count: count}); (err == nil) != (count == 0) {
			t.Errorf("Prepare for %d runners: %v", count, err)
		}
		acl, _, err := server.GetNetworkACL(name)
		if err != nil {
			t.Fatal(err)
		}
		closed := strings.Split(acl.Egress[0].Destination, ",")
		if !slices.Contains(closed, denied[count]) || slices.Contains(closed, denied[1-count]) || !slices.Contains(closed, "169.254.169.254/32") {
			t.Errorf("the ACL for %d runners: %+v", count, acl)
		}
	}
}

func TestACLOfABridgeThatWasEdited(t *testing.T) {
	cloud, server, _ := emulatedCloud(t, func(c *Config) { c.Policy = policyOn(8080) })
	name := cloud.config.unitName()
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Fatal(err)
	}
	edit := func(address string) error {
		change := api.NetworkPut{Config: merged(cloud.networkConfig(), map[string]string{"ipv4.address": address})}
		if err := server.change(http.MethodPut, apiPath("networks", name), change, ""); err != nil {
			t.Fatal(err)
		}
		_, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
		return err
	}
	if err := edit("198.18.4.1/30"); err != nil {
		t.Fatal(err)
	}
	acl, _, err := server.GetNetworkACL(name)
	if err != nil {
		t.Fatal(err)
	}
	destination, gateway := acl.Egress[0].Destination, acl.Egress[1]
	if !strings.Contains(destination, "198.18.4.0/32,198.18.4.2/31") || gateway.Destination != "198.18.4.1/32" || gateway.DestinationPort != "1-8079,8081-65535" {
		t.Errorf("the new subnet is not what is closed: %+v", acl.Egress)
	}
	var trouble runner.Trouble
	if err := edit("none"); !errors.As(err, &trouble) || !strings.Contains(trouble.Advice, "lxc network set "+name) {
		t.Errorf("a bridge without an address: %v", err)
	}
}

func TestWhatCannotBeReachedIsSaid(t *testing.T) {
	cloud, _, _ := emulatedCloud(t, func(c *Config) {
		c.DebugHosts = []cloudinit.DebugHost{{Host: "2001:db8::1", Port: 2200}, {Host: "192.0.2.77", Port: 2200}}
	})
	template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(template.Warnings, "runners can't reach the debug host [2001:db8::1]:2200: runners have no IPv6") {
		t.Errorf("warnings: %q", template.Warnings)
	}
	for _, warning := range template.Warnings {
		if strings.Contains(warning, "192.0.2.77") {
			t.Errorf("a warning about a host that can be reached: %s", warning)
		}
	}
}

// What LXD says to a unit that deletes the shared pool while another does it, too.
func TestTwoUnitsRemoveTheSharedPool(t *testing.T) {
	cloud, server, control := emulatedCloud(t, nil)
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Fatal(err)
	}
	fault := emulation.Fault{Kind: emulation.CallFails, Name: "DELETE /1.0/storage-pools/" + sharedPool, Count: 1, Message: "Error deleting image from storage pool: Storage volume not found"}
	if _, err := control.AddFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	if _, _, err := server.GetStoragePool(sharedPool); !errors.Is(classify(err), runner.ErrNotFound) {
		t.Errorf("the shared pool: %v", err)
	}
}

// A bridge that LXD does not delete, because somebody's instance is on it, must not
// be left open.
func TestDestroyLeavesNoBridgeOpen(t *testing.T) {
	cloud, _, control := emulatedCloud(t, nil)
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Fatal(err)
	}
	bin, asked := t.TempDir(), filepath.Join(t.TempDir(), "asked")
	if err := os.WriteFile(filepath.Join(bin, "nft"), []byte("#!/bin/sh\ncat >>"+asked+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	fault := emulation.Fault{Kind: emulation.CallFails, Name: "DELETE /1.0/networks/" + cloud.config.unitName(), Count: 1, Message: "The network is currently in use"}
	if _, err := control.AddFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Destroy(t.Context()); err == nil {
		t.Error("Destroy succeeds although the network stays")
	}
	if commands, err := os.ReadFile(asked); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nft was asked for %q, %v", commands, err)
	}
	if err := cloud.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if commands, err := os.ReadFile(asked); string(commands) != "delete table inet "+cloud.config.unitName() {
		t.Errorf("nft was asked for %q, %v", commands, err)
	}
}
