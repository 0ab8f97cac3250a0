package lxd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/qemu"
	"github-runner/lab/skip"
)

// TestMain lets this program play QEMU to an LXD daemon.
func TestMain(m *testing.M) {
	if played, err := qemu.Play(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// virtualCloud returns a cloud of virtual machines on a real daemon, which checks
// everything and can start nothing.
func virtualCloud(t *testing.T) (*Cloud, server, *qemu.Daemon) {
	t.Helper()
	if os.Getenv(realDirVariable) == "" {
		skip.Because(t, "%s is not set, so that no real LXD is asked; `make test` does that", realDirVariable)
	}
	if obstacle := qemu.Obstacle(); obstacle != "" {
		skip.Because(t, "no real LXD takes orders for virtual machines here: %s", obstacle)
	}
	// The path of a socket has little room: names of tests don't fit into it.
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	daemon, err := qemu.Start(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := daemon.AddImage(ctx, "noble"); err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Owner.ModelUUID = t.Name()
	config.Socket = daemon.Socket()
	config.InstanceType = VirtualMachine
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, cloud) })
	server, closed, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closed)
	return cloud, server, daemon
}

// tryVirtual asks for a virtual machine with all that a runner's has.
func tryVirtual(t *testing.T, cloud *Cloud) (runner.Birth, error) {
	t.Helper()
	want := runner.Want{
		Count: 1, Scope: runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}, Labels: []string{"x64"},
		Application: runner.Application{URL: "https://example.com/runner.tar.gz", SHA256: strings.Repeat("0", 64)},
	}
	template, err := cloud.Prepare(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	birth := runner.Birth{Name: cloud.config.Owner.NewName(), Scope: want.Scope, RunnerID: 7, JIT: secret.New("jit")}
	return birth, cloud.Create(t.Context(), template, birth)
}

// LXD itself accepts all that a virtual machine is asked for with, as far as
// that can be seen without starting one.
func TestRealLXDAcceptsVirtualMachines(t *testing.T) {
	cloud, server, _ := virtualCloud(t)
	birth, err := tryVirtual(t, cloud)
	if err == nil || !strings.Contains(err.Error(), "cannot start instance") {
		t.Fatalf("Create must get to the start, which needs a QEMU: %v", err)
	}

	instance, _, err := server.GetInstance(birth.Name)
	if err != nil {
		t.Fatal(err)
	}
	if instance.Type != VirtualMachine || len(instance.ExpandedDevices) != 3 || instance.ExpandedDevices[exchangeDevice]["path"] != cloudinit.ExchangeDir {
		t.Errorf("LXD has made %+v", instance)
	}
	remains, err := cloud.Collect(t.Context(), birth.Name, t.TempDir())
	if err != nil || remains.PreJob != nil {
		t.Errorf("what it left: %+v, %v", remains, err)
	}
	if _, err := server.GetInstanceConsoleLog(birth.Name, nil); err == nil || !strings.Contains(err.Error(), noConsole) {
		t.Errorf("LXD has another word for a console without a log: %v", err)
	}
	if err := cloud.Delete(t.Context(), birth.Name); err != nil {
		t.Error(err)
	}
}

// On a busy machine LXD 5.0 may not have read what qemu-img said when that ends,
// and takes it for nothing (lab/qemu has the reason). Such a failure is of no kind
// that asks for somebody's help, leaves nothing in LXD, and does not stand in the
// way of the next.
func TestRealLXDThatMissesWhatAnImageIs(t *testing.T) {
	cloud, server, daemon := virtualCloud(t)
	program := filepath.Join(daemon.Programs, "qemu-img")
	talking := program + ".talking"
	if err := os.Rename(program, talking); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	birth, err := tryVirtual(t, cloud)
	if err == nil || !strings.Contains(err.Error(), "unexpected end of JSON input") {
		t.Fatalf("LXD can't have learned what the image is: %v", err)
	}
	if isClassified(err) {
		t.Errorf("it is more than a failure that passes: %v", err)
	}
	if _, _, err := server.GetInstance(birth.Name); !errors.Is(classify(err), runner.ErrNotFound) {
		t.Errorf("the instance: %v", err)
	}
	if err := cloud.Delete(t.Context(), birth.Name); err != nil {
		t.Errorf("what the charm had made for it: %v", err)
	}
	if err := os.Rename(talking, program); err != nil {
		t.Fatal(err)
	}
	if _, err := tryVirtual(t, cloud); err == nil || !strings.Contains(err.Error(), "cannot start instance") {
		t.Errorf("the next one must get to the start, which needs a QEMU: %v", err)
	}
}

// What LXD refuses of virtual machines is really refused here, so that the test
// above proves something.
func TestRealLXDRefusesWhatIsForContainers(t *testing.T) {
	cloud, server, _ := virtualCloud(t)
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Fatal(err)
	}
	for _, config := range []map[string]string{
		{"security.nesting": "true"},
		{"limits.memory.swap": "false"},
		{"limits.memory": "much"},
		{"boot.autostart": "perhaps"},
	} {
		err := server.change("POST", "/instances", api.InstancesPost{
			Name: cloud.config.Owner.NewName(), Type: VirtualMachine, Source: api.InstanceSource{Type: "none"},
			InstancePut: api.InstancePut{Profiles: []string{cloud.profileName(false)}, Config: config},
		}, "")
		if err == nil {
			t.Errorf("LXD accepts %v", config)
		}
	}
	cached := cloud.profile(true)
	err := server.change("POST", "/profiles", api.ProfilesPost{Name: cloud.profileName(true), ProfilePut: cached}, "")
	known, asked := cloud.cacheable(server)
	if asked != nil || known != (err == nil) {
		t.Errorf("LXD is taken to know io.cache: %v, %v; it says %v", known, asked, err)
	}
}
