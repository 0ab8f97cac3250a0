package lxd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/lab/qemu"
	"github-runner/lab/runnerapp"
	"github-runner/lab/skip"
)

// TestMain lets this program play QEMU to a real LXD daemon.
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

// virtualConversation is about virtual machines, as far as one can get without
// starting them.
var virtualConversation = []request{
	{"POST", "/1.0/storage-pools", `{"name":"emucmp","driver":"dir"}`},
	{"POST", "/1.0/networks", `{"name":"emucmp0","type":"bridge","config":{"ipv4.address":"10.199.91.1/24","ipv4.nat":"true","ipv6.address":"none"}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"root":{"type":"disk","path":"/","pool":"emucmp","io.cache":"unsafe"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp","config":{"limits.cpu":"1","limits.memory":"512MiB","boot.autostart":"false","security.nesting":"true","security.secureboot":"false"},"devices":{"root":{"type":"disk","path":"/","pool":"emucmp","size":"8MiB"},"eth0":{"type":"nic","network":"emucmp0","name":"eth0","security.port_isolation":"true","security.mac_filtering":"true"}}}`},
	{"POST", "/1.0/instances", virtualRequest(`{"security.nesting":"true"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"limits.memory.swap":"false"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"limits.processes":"5"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"raw.lxc":"x"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"security.syscalls.intercept.mknod":"true"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"limits.memory":"much"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"boot.autostart":"perhaps"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{"colour":"blue"}`, `{}`)},
	{"POST", "/1.0/instances", virtualRequest(`{}`, `{"x":{"type":"disk","source":"/nonexistent/x","path":"/x"}}`)},
	{"POST", "/1.0/instances", virtualRequest(`{}`, `{"x":{"type":"disk","source":"FOLDER","path":"/x","io.cache":"unsafe"}}`)},
	{"POST", "/1.0/instances", virtualRequest(`{}`, `{"x":{"type":"nic","network":"emucmp9"}}`)},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"config":{"security.secureboot":"false"},"source":{"type":"none"}}`},
	{"POST", "/1.0/instances", virtualRequest(`{"user.a":"b","cloud-init.user-data":"#cloud-config\n"}`, `{"exchange":{"type":"disk","source":"FOLDER","path":"/x"}}`)},
	{"POST", "/1.0/instances", virtualRequest(`{}`, `{}`)},
	{"GET", "/1.0/instances/emucmp", ""},
	{"GET", "/1.0/instances/emucmp/state", ""},
	{"GET", "/1.0/instances?recursion=2", ""},
	{"GET", "/1.0/instances?instance-type=container", ""},
	{"GET", "/1.0/instances/emucmp/console", ""},
	{"GET", "/1.0/instances/emucmp/files?path=/etc/hostname", ""},
	{"POST", "/1.0/instances/emucmp/exec", `{"command":["true"]}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"stop","force":true}`},
	{"PATCH", "/1.0/instances/emucmp", `{"config":{"user.c":"d"}}`},
	{"PATCH", "/1.0/instances/emucmp", `{"config":{"security.nesting":"true"}}`},
	{"GET", "/1.0/storage-pools/emucmp/volumes?recursion=1", ""},
	{"GET", "/1.0/storage-pools/emucmp/volumes/virtual-machine/emucmp", ""},
	{"GET", "/1.0/storage-pools/emucmp/volumes/container/emucmp", ""},
	{"GET", "/1.0/profiles/emucmp", ""},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"properties":{"emucmp":"vm"},"compression_algorithm":"none"}`},
	{"GET", "/1.0/images/FINGERPRINT", ""},
	{"DELETE", "/1.0/images/FINGERPRINT", ""},
	{"DELETE", "/1.0/instances/emucmp", ""},
	{"DELETE", "/1.0/profiles/emucmp", ""},
	{"DELETE", "/1.0/networks/emucmp0", ""},
	{"DELETE", "/1.0/storage-pools/emucmp", ""},
}

func virtualRequest(config, devices string) string {
	return `{"name":"emucmp","type":"virtual-machine","profiles":["emucmp"],"source":{"type":"none"},"config":` + config + `,"devices":` + devices + `}`
}

// TestVirtualMachinesAsTheRealDaemon compares with a daemon of the test's own,
// which is made to take orders for virtual machines.
func TestVirtualMachinesAsTheRealDaemon(t *testing.T) {
	if os.Getenv(realDir) == "" {
		skip.Because(t, "%s names no folder of a real LXD to compare with", realDir)
	}
	if obstacle := qemu.Obstacle(); obstacle != "" {
		skip.Because(t, "no real LXD takes orders for virtual machines here: %s", obstacle)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	daemon, err := qemu.Start(ctx, shortDir(t))
	must(t, err)
	t.Cleanup(func() {
		removeLeftovers(t, daemon.Dir)
		must(t, daemon.Stop())
	})
	folder := t.TempDir()
	wanted := converse(t, dialSocket(daemon.Socket()), folder, virtualConversation)
	answered := converse(t, dialSocket(serveIn(t, shortDir(t)).Socket()), folder, virtualConversation)
	compare(t, virtualConversation, wanted, answered)
}

// launchVirtual creates and starts a virtual machine with a runner.
func (d *daemon) launchVirtual(name string) *session {
	d.t.Helper()
	for _, image := range d.images {
		if image.Type == virtualMachine && image.Properties["release"] == "24.04" && len(image.Aliases) == 0 {
			alias := api.ImageAliasesPost{}
			alias.Name, alias.Target = "vm", image.Fingerprint
			must(d.t, d.client.CreateImageAlias(alias))
		}
	}
	dir := filepath.Join(d.exchange, name)
	must(d.t, os.MkdirAll(dir, 0o700))
	data, err := userData("jit of " + name)
	must(d.t, err)
	must(d.t, d.wait(d.client.CreateInstance(api.InstancesPost{
		Name: name, Type: virtualMachine, Source: api.InstanceSource{Type: "image", Alias: "vm"},
		InstancePut: api.InstancePut{
			Profiles: []string{"runner"},
			Config:   map[string]string{"cloud-init.user-data": data},
			Devices:  devices{"exchange": {"type": "disk", "source": dir, "path": cloudinit.ExchangeDir}},
		},
	})))
	must(d.t, d.power(name, "start"))
	return d.github.session("jit of " + name)
}

// try runs a command in an instance and reads a file of it.
func (d *daemon) try(name string) (exec, file error) {
	d.t.Helper()
	operation, err := d.client.ExecInstance(name, execPost("true"), nil)
	exec = d.wait(operation, err)
	content, _, file := d.client.GetInstanceFile(name, "/etc/hostname")
	if file == nil {
		_, file = io.Copy(io.Discard, content)
	}
	return exec, file
}

func (d *daemon) fault(fault Fault) {
	d.t.Helper()
	_, err := d.AddFault(fault)
	must(d.t, err)
}

func TestVirtualMachineAnswersOnlyWhileItsAgentIsUp(t *testing.T) {
	d := startDaemon(t)
	d.fault(Fault{Kind: LateAgent, For: 300 * time.Millisecond})
	session := d.launchVirtual("v1")
	exec, file := d.try("v1")
	for _, err := range []error{exec, file} {
		if err == nil || !strings.Contains(err.Error(), "LXD VM agent isn't currently running") {
			t.Errorf("before its agent is up: %v", err)
		}
	}
	state, _, err := d.client.GetInstanceState("v1")
	must(t, err)
	if state.Processes != -1 || state.Status != "Running" {
		t.Errorf("before its agent is up it shows %+v", state)
	}
	if _, ok := d.file("v1", cloudinit.DiagFile); ok {
		t.Error("it writes to a folder that nobody has mounted yet")
	}
	await(t, "the runner is online", session.online)
	if exec, file := d.try("v1"); exec != nil || file != nil {
		t.Errorf("with its agent: %v, %v", exec, file)
	}
	must(t, d.power("v1", "stop"))
	if exec, file := d.try("v1"); exec == nil || file == nil || !strings.Contains(file.Error(), "not running") {
		t.Errorf("stopped: %v, %v", exec, file)
	}
	if log, _ := d.file("v1", cloudinit.DiagFile); !strings.Contains(log, "Listening for Jobs") {
		t.Errorf("what is left of it: %q", log)
	}
}

func TestVirtualMachineWithoutExchangeLeavesNothing(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	d.fault(Fault{Kind: MountFails, For: 50 * time.Millisecond})
	session := d.launchVirtual("v1")
	d.until("instance-restarted v1")
	d.until("instance-shutdown v1")
	left, err := os.ReadDir(filepath.Join(d.exchange, "v1"))
	if err != nil || len(left) != 0 || len(session.online) != 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}

func TestVirtualMachineRunsOneJob(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	session := d.launchVirtual("v1")
	session.jobs <- runnerapp.Job{ID: 1}
	d.waitFile("v1", cloudinit.PreJobDoneFile)
	close(session.end)
	d.until("instance-restarted v1")
	d.until("instance-shutdown v1")
	if status := d.postJob("v1"); status != "normal" {
		t.Errorf("it ends as %q", status)
	}
}

// lxd-agent reboots a machine when it starts for the first time, and LXD calls it
// stopped until it is back.
func TestVirtualMachineRebootsAtItsFirstBoot(t *testing.T) {
	d := startDaemon(t)
	d.options.Timing.Reboot = time.Hour
	d.watch()
	d.launchVirtual("v1")
	d.until("instance-shutdown v1")
	if status := d.status("v1"); status != "Stopped" {
		t.Errorf("while it reboots it is %s", status)
	}
	if err := d.wait(d.client.DeleteInstance("v1")); err == nil || !strings.Contains(err.Error(), `busy running a "restart" operation`) {
		t.Errorf("a machine that reboots was deleted: %v", err)
	}
}

// Without its agent a machine never hears what it is for.
func TestVirtualMachineWithoutAgentIdles(t *testing.T) {
	d := startDaemon(t)
	d.fault(Fault{Kind: NoAgent})
	session := d.launchVirtual("v1")
	time.Sleep(5 * Quick().Boot)
	if len(session.online) != 0 || d.status("v1") != "Running" {
		t.Errorf("it is %s", d.status("v1"))
	}
}

// A machine that still boots does not hear its power button.
func TestVirtualMachineHeedsItsButtonOnceItHasBooted(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	d.fault(Fault{Kind: SlowBoot, Name: "slow", For: time.Hour})
	d.launchVirtual("slow")
	d.until("instance-restarted slow")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	operation, err := d.client.UpdateInstanceState("slow", api.InstanceStatePut{Action: "stop", Timeout: -1}, "")
	must(t, err)
	if err := operation.WaitContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a machine that boots was stopped: %v", err)
	}

	await(t, "the runner is online", d.launchVirtual("up").online)
	must(t, d.wait(d.client.UpdateInstanceState("up", api.InstanceStatePut{Action: "stop", Timeout: -1}, "")))
}

func TestNoVirtualMachinesWithoutKVM(t *testing.T) {
	d := startDaemon(t)
	drivers := func() string {
		info, _, err := d.client.GetServer()
		must(t, err)
		return info.Environment.Driver
	}
	if drivers() != "lxc | qemu" {
		t.Errorf("the drivers are %q", drivers())
	}
	d.fault(Fault{Kind: NoKVM})
	if drivers() != "lxc" {
		t.Errorf("without KVM the drivers are %q", drivers())
	}
	err := d.wait(createVirtual(d))
	if err == nil || !strings.Contains(err.Error(), "vhost_vsock kernel module not loaded") {
		t.Errorf("without KVM: %v", err)
	}
}

func createVirtual(d *daemon) (client.Operation, error) {
	return d.client.CreateInstance(api.InstancesPost{
		Name: "v1", Type: virtualMachine, Source: api.InstanceSource{Type: "none"},
		InstancePut: api.InstancePut{Profiles: []string{"runner"}},
	})
}

func TestOddStatuses(t *testing.T) {
	d := startDaemon(t)
	d.launch("r1")
	if _, err := d.AddFault(Fault{Kind: OddStatus, Message: "Dancing"}); err == nil {
		t.Error("LXD has a status Dancing")
	}
	for _, want := range []string{"Running", "Error", "Ready", "Frozen"} {
		d.ClearFaults("")
		if want != "Running" {
			d.fault(Fault{Kind: OddStatus, Message: want})
		}
		all, err := d.client.GetInstances(api.InstanceTypeAny)
		must(t, err)
		if all[0].Status != want || d.status("r1") != want {
			t.Errorf("it shows %s and %s, not %s", all[0].Status, d.status("r1"), want)
		}
	}
}
