package lxd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/lab/runnerapp"
)

func execPost(command ...string) api.InstanceExecPost {
	return api.InstanceExecPost{Command: command}
}

func TestGuestsLiveOverARestartOfTheDaemon(t *testing.T) {
	d := startDaemon(t)
	session := d.launch("r1")
	session.jobs <- runnerapp.Job{ID: 1}
	d.waitFile("r1", "pre-job-done")
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	control := Dial(d.ControlSocket())
	must(t, control.Restart(ctx, 10*time.Millisecond))
	if status := d.status("r1"); status != "Running" {
		t.Errorf("after the restart the instance is %s", status)
	}
	close(session.end)
	if conclusion := await(t, "the job is finished", session.finished); conclusion != runnerapp.Success {
		t.Errorf("the job ends as %q", conclusion)
	}
}

func TestRestartCutsEventsAndOperations(t *testing.T) {
	d := startDaemon(t)
	must(t, d.create("r1", ""))
	_, err := d.faults.Add(Fault{Kind: StartHangs})
	must(t, err)
	listener, err := d.client.GetEvents()
	must(t, err)
	operation, err := d.client.UpdateInstanceState("r1", api.InstanceStatePut{Action: "start"}, "")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	must(t, d.Restart(ctx, 0))
	if err := listener.Wait(); err == nil {
		t.Error("the event connection survives the restart")
	}
	if err := operation.WaitContext(ctx); err == nil {
		t.Error("the operation survives the restart")
	}
	d.faults.Clear("")
	must(t, d.power("r1", "start"))
}

func TestStateIsKept(t *testing.T) {
	dir := shortDir(t)
	t.Run("first", func(t *testing.T) {
		d := serveIn(t, dir)
		must(t, d.client.CreateStoragePool(api.StoragePoolsPost{Name: "pool", Driver: "dir"}))
		must(t, d.client.CreateNetwork(api.NetworksPost{Name: "br-test", Type: "bridge"}))
		must(t, d.client.CreateNetworkACL(api.NetworkACLsPost{NetworkACLPost: api.NetworkACLPost{Name: "acl"}}))
		must(t, d.client.CreateProfile(api.ProfilesPost{Name: "runner", ProfilePut: api.ProfilePut{Devices: devices{
			"root": {"type": "disk", "path": "/", "pool": "pool"},
		}}}))
		must(t, d.client.DeleteImageAlias("jammy"))
		d.launch("r1")
	})
	d := serveIn(t, dir)
	if status := d.status("r1"); status != "Stopped" {
		t.Errorf("after a reboot of the machine the instance is %s", status)
	}
	d.watch()
	must(t, d.power("r1", "start"))
	d.until("instance-shutdown r1") // it knows that it has served
	for what, names := range map[string]func() ([]string, error){
		"pool":    d.client.GetStoragePoolNames,
		"acl":     d.client.GetNetworkACLNames,
		"runner":  d.client.GetProfileNames,
		"noble":   d.client.GetImageAliasNames,
		"br-test": d.client.GetNetworkNames,
	} {
		if all, err := names(); err != nil || !slices.Contains(all, what) || slices.Contains(all, "jammy") {
			t.Errorf("%s is not kept, or jammy is: %v, %v", what, all, err)
		}
	}
}

func TestOperationFaults(t *testing.T) {
	tests := map[Kind]struct {
		act  func(d *daemon) error
		want string
		left []string
	}{
		CreateFails: {func(d *daemon) error { return d.create("r2", "") }, "unsquashfs", []string{"r1"}},
		CreateHalf:  {func(d *daemon) error { return d.create("r2", "") }, "Failed creating instance from image", []string{"r1", "r2"}},
		PoolFull:    {func(d *daemon) error { return d.create("r2", "") }, "run out of disk space", []string{"r1"}},
		DiskQuota:   {func(d *daemon) error { return d.create("r2", "") }, "Disk quota exceeded", []string{"r1"}},
		ImageGone: {func(d *daemon) error {
			_, err := d.client.CreateInstance(api.InstancesPost{Name: "r2", Source: api.InstanceSource{Type: "image", Alias: "noble"}})
			return err
		}, "Image alias not found", []string{"r1"}},
		StartFails: {func(d *daemon) error { return d.power("r1", "start") }, "forkstart", []string{"r1"}},
		DeleteFails: {func(d *daemon) error {
			operation, err := d.client.DeleteInstance("r1")
			return d.wait(operation, err)
		}, "busy", []string{"r1"}},
		NoSubnet: {func(d *daemon) error {
			return d.client.CreateNetwork(api.NetworksPost{Name: "br-other", Type: "bridge"})
		}, "unused IPv4 subnet", []string{"r1"}},
		CallFails: {func(d *daemon) error {
			_, err := d.client.GetProfileNames()
			return err
		}, "Internal server error", []string{"r1"}},
	}
	for kind, test := range tests {
		t.Run(string(kind), func(t *testing.T) {
			d := startDaemon(t)
			must(t, d.create("r1", ""))
			control := Dial(d.ControlSocket())
			_, err := control.AddFault(t.Context(), Fault{Kind: kind, Count: 1})
			must(t, err)
			if err := test.act(d); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the fault says %v, want %q", err, test.want)
			}
			names, err := d.client.GetInstanceNames(api.InstanceTypeAny)
			must(t, err)
			if diff := cmp.Diff(test.left, names); diff != "" {
				t.Errorf("instances (-want +got):\n%s", diff)
			}
			if faults, err := control.Faults(t.Context()); err != nil || len(faults) != 1 || faults[0].Hits != 1 {
				t.Errorf("faults are listed as %+v, %v", faults, err)
			}
			if err := test.act(d); kind == StartFails && err != nil {
				t.Errorf("the fault happens twice: %v", err)
			}
		})
	}
}

func TestHangingOperations(t *testing.T) {
	tests := map[Kind]func(d *daemon) (client.Operation, error){
		CreateHangs: func(d *daemon) (client.Operation, error) {
			return d.client.CreateInstance(api.InstancesPost{
				Name: "r2", Source: api.InstanceSource{Type: "image", Alias: "noble"}, InstancePut: api.InstancePut{Profiles: []string{"runner"}},
			})
		},
		StopHangs: func(d *daemon) (client.Operation, error) {
			return d.client.UpdateInstanceState("r1", api.InstanceStatePut{Action: "stop", Force: true}, "")
		},
		ExecHangs: func(d *daemon) (client.Operation, error) { return d.client.ExecInstance("r1", execPost("true"), nil) },
	}
	for kind, act := range tests {
		t.Run(string(kind), func(t *testing.T) {
			d := startDaemon(t)
			must(t, d.create("r1", ""))
			must(t, d.power("r1", "start"))
			_, err := d.faults.Add(Fault{Kind: kind})
			must(t, err)
			operation, err := act(d)
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := operation.WaitContext(ctx); err != context.DeadlineExceeded {
				t.Errorf("the operation ends: %v", err)
			}
		})
	}
}

func TestLostAnswerHasItsEffect(t *testing.T) {
	d := startDaemon(t)
	_, err := d.faults.Add(Fault{Kind: LostAnswer, Name: "/1.0/profiles", Count: 1})
	must(t, err)
	if err := d.client.CreateProfile(api.ProfilesPost{Name: "lost"}); err == nil {
		t.Error("the answer arrives")
	}
	if _, _, err := d.client.GetProfile("lost"); err != nil {
		t.Errorf("the request had no effect: %v", err)
	}
}

func TestFaultsAreChecked(t *testing.T) {
	d := startDaemon(t)
	for _, fault := range []Fault{{Kind: "earthquake"}, {}, {Kind: SlowAnswers, Name: "[bad"}} {
		if _, err := Dial(d.ControlSocket()).AddFault(t.Context(), fault); err == nil {
			t.Errorf("%+v is accepted", fault)
		}
	}
	if n, err := Dial(d.ControlSocket()).ClearFaults(t.Context(), ""); err != nil || n != 0 {
		t.Errorf("ClearFaults returns %d, %v", n, err)
	}
}

func TestEventsLost(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	_, err := d.faults.Add(Fault{Kind: EventsLost})
	must(t, err)
	must(t, d.client.CreateProfile(api.ProfilesPost{Name: "unseen"}))
	d.faults.Clear(string(EventsLost))
	must(t, d.client.CreateProfile(api.ProfilesPost{Name: "seen"}))
	if event := await(t, "an event comes", d.events); event != "profile-created seen" {
		t.Errorf("the first event is %q", event)
	}
}

// thousand is an emulation of a thousand runners, which does not serve.
func thousand(t testing.TB) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "lxd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := New(Options{Dir: dir, Timing: Quick()})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		id := name("r", n)
		s.instances[id] = &instance{
			Name: id, Type: "container", Profiles: []string{"default"},
			Config: map[string]string{"cloud-init.user-data": strings.Repeat("x", 12<<10)},
		}
	}
	return s
}

func TestThousandInstancesAreListed(t *testing.T) {
	answer := call(thousand(t).Handler(), http.MethodGet, "/1.0/instances?recursion=1", "")
	var decoded struct{ Metadata []api.Instance }
	must(t, json.Unmarshal(answer.Body.Bytes(), &decoded))
	all := decoded.Metadata
	if len(all) != 1000 || all[0].Name != "r-0000" || len(all[999].ExpandedConfig["cloud-init.user-data"]) != 12<<10 {
		t.Fatalf("%d instances are listed", len(all))
	}
}

// BenchmarkListOfThousand: under 50 ms, so that measuring a reconcile of so many
// measures the charm.
func BenchmarkListOfThousand(b *testing.B) {
	s := thousand(b)
	list := func() { call(s.Handler(), http.MethodGet, "/1.0/instances?recursion=1", "") }
	list() // what did not change since is not encoded again
	for b.Loop() {
		list()
	}
}

func TestChangesShowInLists(t *testing.T) {
	d := startDaemon(t)
	must(t, d.create("r1", ""))
	shown := func() api.Instance {
		t.Helper()
		all, err := d.client.GetInstances(api.InstanceTypeAny)
		must(t, err)
		return all[0]
	}
	if i := shown(); i.Status != "Stopped" || i.ExpandedDevices["root"]["pool"] != "pool" {
		t.Errorf("the new instance is shown as %+v", i)
	}
	must(t, d.power("r1", "start"))
	if i := shown(); i.Status != "Running" || i.Config[keyPower] != "RUNNING" {
		t.Errorf("the started instance is shown as %+v", i)
	}
	profile, etag, err := d.client.GetProfile("runner")
	must(t, err)
	put := profile.Writable()
	put.Config["limits.cpu"] = "7"
	must(t, d.client.UpdateProfile("runner", put, etag))
	if i := shown(); i.ExpandedConfig["limits.cpu"] != "7" {
		t.Errorf("the edited profile does not show: %+v", i.ExpandedConfig)
	}
	if err := d.client.UpdateProfile("runner", put, etag); !api.StatusErrorCheck(err, http.StatusPreconditionFailed) {
		t.Errorf("a change with an old ETag: %v", err)
	}
}

func TestManyInstancesAtOnce(t *testing.T) {
	d := startDaemon(t)
	failures := make(chan error)
	const count = 50
	for n := range count {
		go func() {
			id := name("r", n)
			err := d.create(id, "jit of "+id)
			if err == nil {
				err = d.power(id, "start")
			}
			failures <- err
		}()
	}
	for range count {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	for n := range count {
		await(t, fmt.Sprintf("runner %d is online", n), d.github.session("jit of "+name("r", n)).online)
	}
}
