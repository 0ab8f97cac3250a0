package lxd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	emulation "github-runner/lab/lxd"
)

// virtualBirth prepares an emulated cloud of virtual machines with a fault, and
// creates one.
func virtualBirth(t *testing.T, fault emulation.Fault) (*Cloud, server, runner.Birth) {
	t.Helper()
	timing := emulation.Quick()
	// Long enough to be seen off by a test that gets little of the processor.
	timing.Reboot = 2 * time.Second
	cloud, server, control := emulatedCloudAt(t, timing, func(c *Config) {
		c.InstanceType, c.ImageAlias = VirtualMachine, "vm"
		c.Log = logrus.NewEntry(logrus.New())
	})
	aliasVirtual(t, server)
	if _, err := control.AddFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	birth := runner.Birth{Name: cloud.config.Owner.NewName(), RunnerID: 7, JIT: secret.New("jit")}
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.exchange(birth.Name).remove() })
	return cloud, server, birth
}

// aliasVirtual lets the alias vm lead to an image for virtual machines.
func aliasVirtual(t *testing.T, server server) {
	t.Helper()
	var images []api.Image
	response, _, err := server.RawQuery("GET", "/1.0/images?recursion=1", nil, "")
	if err == nil {
		err = response.MetadataAsStruct(&images)
	}
	for _, image := range images {
		if err == nil && image.Type == VirtualMachine && len(image.Aliases) == 0 {
			alias := api.ImageAliasesPost{}
			alias.Name, alias.Target = "vm", image.Fingerprint
			err = server.change("POST", "/images/aliases", alias, "")
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A virtual machine that its agent reboots at the first boot is not taken for one
// that has ended.
func TestRebootingVirtualMachineIsStillStarting(t *testing.T) {
	cloud, server, birth := virtualBirth(t, emulation.Fault{Kind: emulation.AppExits})
	sawOff := false
	for deadline := time.Now().Add(time.Minute); ; {
		instance, _, err := server.GetInstance(birth.Name)
		if err != nil {
			t.Fatal(err)
		}
		sawOff = sawOff || instance.StatusCode == api.Stopped
		listed, err := cloud.List(t.Context())
		if err != nil || len(listed) != 1 {
			t.Fatalf("List: %+v, %v", listed, err)
		}
		left, err := cloud.exchange(birth.Name).list()
		if err != nil {
			t.Fatal(err)
		}
		if left[cloudinit.DiagFile] {
			break
		}
		if status := listed[0].Status; status != runner.StatusRunning && status != runner.StatusCreating {
			t.Fatalf("it is %s while it still boots", status)
		}
		if time.Now().After(deadline) {
			t.Fatal("its runner does not start")
		}
	}
	if !sawOff {
		t.Error("it was never seen off: nothing is proven")
	}
}

func TestVirtualMachineThatStaysOffHasEnded(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	virtual := api.Instance{Name: "r", Type: VirtualMachine, StatusCode: api.Stopped, CreatedAt: now}
	old := api.Instance{Name: "o", Type: VirtualMachine, StatusCode: api.Stopped, CreatedAt: now.Add(-virtualBoot)}
	for _, test := range []struct {
		name     string
		instance api.Instance
		status   runner.Status
		left     files
		after    time.Duration
		want     bool
	}{
		{"a container", api.Instance{Name: "c", Type: Container}, runner.StatusStopped, nil, 0, false},
		{"running", virtual, runner.StatusRunning, nil, 0, false},
		{"just off", virtual, runner.StatusStopped, files{cloudinit.DiagFile: false}, 0, true},
		{"still off", virtual, runner.StatusStopped, nil, rebootTime - 1, true},
		{"its runner had started", virtual, runner.StatusStopped, files{cloudinit.DiagFile: true}, time.Second, false},
		{"past its first boot", old, runner.StatusStopped, nil, 0, false},
		{"off for good", virtual, runner.StatusStopped, nil, rebootTime, false},
	} {
		if got := cloud.mayComeBack(test.instance, test.status, test.left, now.Add(test.after)); got != test.want {
			t.Errorf("%s: it may come back: %v", test.name, got)
		}
	}
	cloud.power.keepOnly(nil)
	if !cloud.mayComeBack(virtual, runner.StatusStopped, nil, now.Add(virtualBoot/2)) {
		t.Error("a machine that ran meanwhile may not reboot")
	}
}

func TestMachineWithoutKVMBlocks(t *testing.T) {
	cloud, server, control := emulatedCloud(t, func(c *Config) { c.InstanceType, c.ImageAlias = VirtualMachine, "vm" })
	aliasVirtual(t, server)
	if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: emulation.NoKVM}); err != nil {
		t.Fatal(err)
	}
	var trouble runner.Trouble
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); !errors.As(err, &trouble) || !strings.Contains(trouble.Advice, "lxd-instance-type=container") {
		t.Errorf("Prepare: %v", err)
	}
	if _, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil {
		t.Errorf("Prepare for no runners: %v", err)
	}
}

// Whatever a virtual machine does not say by its exchange folder is not to be had:
// then the reason is a guess, and no error.
func TestSilentVirtualMachine(t *testing.T) {
	cloud, _, birth := virtualBirth(t, emulation.Fault{Kind: emulation.MountFails, For: time.Millisecond})
	logged := logrustest.NewLocal(cloud.log.Logger)
	remains, err := cloud.Collect(t.Context(), birth.Name, t.TempDir())
	if err != nil || remains.LastLines != silence {
		t.Errorf("it left %+v, %v", remains, err)
	}
	for _, entry := range logged.AllEntries() {
		if entry.Level <= logrus.WarnLevel {
			t.Errorf("logged: %s", entry.Message)
		}
	}
}
