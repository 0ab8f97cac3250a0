package lxd

import (
	"context"
	"errors"
	"os"
	"testing"

	"github-runner/charm/runner"
	emulation "github-runner/lab/lxd"
)

// emulatedCloud is a cloud on an emulated daemon that holds nothing yet, whose
// faults are asked for through the control.
func emulatedCloud(t *testing.T, change func(*Config)) (*Cloud, server, *emulation.Control) {
	t.Helper()
	// The path of a socket has little room: names of tests don't fit into it.
	dir, err := os.MkdirTemp("", "lxd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	daemon, err := emulation.New(emulation.Options{Dir: dir, Timing: emulation.Quick()})
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
		networks, pools, profiles := countOf(t, server.GetNetworks), countOf(t, server.GetStoragePools), countOf(t, server.GetProfiles)
		template, err := cloud.Prepare(t.Context(), runner.Want{})
		if err != nil || template.Hash != "" {
			t.Errorf("%s: template %+v, %v", kind, template, err)
		}
		if countOf(t, server.GetNetworks) != networks || countOf(t, server.GetStoragePools) != pools || countOf(t, server.GetProfiles) != profiles {
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
	for _, count := range []int{0, 1} {
		cloud.config.Denylist = prefixes([]string{"198.51.100.0/24", "203.0.113.0/24"}[count])
		if _, err := cloud.Prepare(t.Context(), runner.Want{Count: count}); (err == nil) != (count == 0) {
			t.Errorf("Prepare for %d runners: %v", count, err)
		}
		addresses, err := machineAddresses()
		if err != nil {
			t.Fatal(err)
		}
		acl, _, err := server.GetNetworkACL(name)
		if wanted := egressRules(addresses, cloud.config.Denylist); err != nil || acl.Egress[0] != wanted[0] {
			t.Errorf("the ACL for %d runners: %+v, %v", count, acl, err)
		}
	}
}
