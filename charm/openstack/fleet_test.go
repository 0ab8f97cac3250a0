package openstack

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github-runner/charm/github"
	"github-runner/charm/guest"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/faults"
	stand "github-runner/lab/github"
	"github-runner/lab/guests"
	"github-runner/lab/openstack"
)

// fleet is a manager between the cloud and the lab's GitHub, as in production.
type fleet struct {
	*unit
	github  *stand.Server
	manager *runner.Manager
	memory  runner.Memory
	want    runner.Want
	// remains are what runners left that are gone; steps run side by side.
	mu      sync.Mutex
	remains []runner.Remains
}

// door lets a unit into its runners' machines.
func (y *yard) door(c *Config) {
	c.Door = guest.Door{Keys: c.Keys, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return y.DialGuest(ctx, host)
	}}
}

// Online, Ended and Reconciled implement runner.Journal.
func (f *fleet) Online(string, time.Duration) {}

func (f *fleet) Ended(_ context.Context, _ runner.Info, remains runner.Remains, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remains = append(f.remains, remains)
}

func (f *fleet) Reconciled(runner.Result, time.Duration) {}

// unhurried is about what a real cloud takes.
var unhurried = openstack.Timing{
	Build: 15 * time.Second, Boot: 30 * time.Second, PowerOff: 5 * time.Second, Power: 5 * time.Second, Delete: 5 * time.Second,
}

// inFleet runs a test with a fleet of three.
func inFleet(t *testing.T, test func(f *fleet)) {
	t.Helper()
	dir := t.TempDir()
	application := filepath.Join(dir, "actions-runner-linux-x64-2.999.1.tar.gz")
	must(t, os.WriteFile(application, nil, 0o600))
	var hub *stand.Server
	listen := func(jit string) (guests.Listener, error) { return hub.Attach(jit) }
	inYard(t, openstack.Options{Timing: unhurried, Listen: listen}, func(y *yard) {
		var err error
		hub, err = stand.New(stand.Options{Applications: []string{application}, OfflineAfter: 20 * time.Second, LostAfter: time.Minute, Log: silence()})
		must(t, err)
		listener, err := y.network.Listen("tcp", "github:80")
		must(t, err)
		server := &http.Server{Handler: hub}
		go server.Serve(listener)
		defer server.Close()
		client := github.New(github.Options{Credential: github.Credential{Token: secret.New("ghp_token")}, Way: github.Way{Dial: y.network.Dial}})
		defer client.Close()
		f := &fleet{unit: y.unit(mine, y.door), github: hub}
		defer f.Close()
		f.want = want(3)
		f.want.Scope = runner.Scope{API: "http://github:80/api/v3", Path: "acme/widgets"}
		f.manager = runner.NewManager(runner.Config{
			Owner: mine, Cloud: f.Cloud, GitHub: client, Limits: runner.DefaultLimits(2), Log: silence(), Journal: f,
			Application: func(ctx context.Context, scope runner.Scope) (runner.Application, error) {
				return client.Application(ctx, scope, "x64")
			},
			LogDir: func(name string) string { return filepath.Join(dir, name) },
			Save:   func(m runner.Memory) error { f.memory = m; return nil },
		})
		test(f)
	})
}

func (f *fleet) reconcile() runner.Result {
	f.yard.Helper()
	result, err := f.manager.Reconcile(f.yard.Context(), f.want, true)
	must(f.yard.T, err)
	return result
}

// online are the names of the runners that GitHub sees.
func (f *fleet) online() []string {
	var names []string
	for _, one := range f.github.Runners() {
		if one.Online {
			names = append(names, one.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (f *fleet) expectOnline(count int) []string {
	f.yard.Helper()
	names := f.online()
	if len(names) != count {
		f.yard.Fatalf("the runners %v are online, want %d", names, count)
	}
	return names
}

func TestFleet(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.reconcile()
		first := f.expectOnline(3)
		f.yard.wait(time.Minute)
		f.calls.take()
		if result := f.reconcile(); result.Created+result.Removed != 0 || !slices.Equal(first, f.online()) {
			t.Errorf("a steady fleet changes: %+v", result)
		}
		if n := f.calls.count("GET /compute/v2.1/servers"); n != 1 || f.calls.count("") != 6 {
			t.Errorf("a steady reconcile makes the calls %v", f.calls.take())
		}

		jobs, err := f.github.Queue(stand.JobRequest{Duration: 10 * time.Minute})
		must(t, err)
		f.yard.wait(time.Minute)
		f.want.Count = 0
		result := f.reconcile()
		if busy := result.View.Count(runner.Busy); busy != 1 {
			t.Errorf("%d runners are busy", busy)
		}
		f.want.Count = 3
		f.yard.wait(time.Minute)
		f.reconcile()
		f.expectOnline(3)
		f.yard.wait(time.Hour)
		f.reconcile()
		f.yard.wait(time.Hour)
		f.reconcile()
		for _, one := range f.github.Jobs() {
			if one.ID == jobs[0].ID && one.Conclusion != "success" {
				t.Errorf("the job ends as %q", one.Conclusion)
			}
		}
		f.expectOnline(3)
		if left := f.list(); len(left) != 3 {
			t.Errorf("there are %+v", left)
		}
		if _, err := f.manager.Flush(f.yard.Context(), f.want.Scope, runner.ForceFlushWaitRepoCheck); err != nil {
			t.Error(err)
		}
		must(t, f.Destroy(f.yard.Context()))
		f.yard.nothingLeft(f.unit)
	})
}

// A runner whose job has ended is asked what it left, and goes before its machine
// powers off.
func TestFleetLooksIntoRunners(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.reconcile()
		_, err := f.github.Queue(stand.JobRequest{Duration: time.Minute})
		must(t, err)
		f.yard.wait(2 * time.Minute)
		f.reconcile()
		f.expectOnline(3)
		if len(f.remains) != 1 || f.remains[0].PreJob == nil || !f.remains[0].EndedWell() || f.remains[0].LastLines != "" {
			t.Errorf("runners have left %+v", f.remains)
		}
		f.yard.wait(unhurried.Delete)
		if left := f.list(); len(left) != 3 {
			t.Errorf("there are %+v", left)
		}
	})
}

// A flush that waits for pre-job scripts learns of their end by SSH; one that can't
// is not held up for ever.
func TestFleetWaitsForPreJobs(t *testing.T) {
	for what, test := range map[string]struct {
		fault []faults.Fault
		takes func(took time.Duration) bool
	}{
		"a script":          {nil, func(took time.Duration) bool { return took > 30*time.Second && took < 90*time.Second }},
		"one without a way": {[]faults.Fault{{Kind: openstack.SSHFails}}, func(took time.Duration) bool { return took >= 150*time.Second }},
	} {
		t.Run(what, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				f.reconcile()
				f.yard.fault(faults.Fault{Kind: guests.LongPreJob, For: time.Minute})
				for _, fault := range test.fault {
					f.yard.fault(fault)
				}
				_, err := f.github.Queue(stand.JobRequest{Duration: time.Hour})
				must(t, err)
				f.yard.wait(10 * time.Second)
				began := time.Now()
				result, err := f.manager.Flush(f.yard.Context(), f.want.Scope, runner.FlushBusyWaitRepoCheck)
				must(t, err)
				if took := time.Since(began); !test.takes(took) {
					t.Errorf("it takes %v: %+v", took, result)
				}
			})
		})
	}
}

// Where no server is built, creating is held back, and goes on by itself.
func TestFleetWithoutRoom(t *testing.T) {
	for _, kind := range []faults.Kind{openstack.NoValidHost, openstack.QuotaExceeded} {
		t.Run(string(kind), func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				f.yard.fault(faults.Fault{Kind: kind})
				for range 3 {
					if _, err := f.manager.Reconcile(f.yard.Context(), f.want, true); err == nil {
						t.Error("a reconcile without room succeeds")
					}
					f.yard.wait(time.Minute)
				}
				f.yard.ClearFaults("")
				f.yard.wait(20 * time.Minute)
				for range 5 {
					// The first ones are probes, and say what they wait for.
					_, _ = f.manager.Reconcile(f.yard.Context(), f.want, true)
					f.yard.wait(5 * time.Minute)
				}
				f.reconcile()
				f.expectOnline(3)
				if left := f.list(); len(left) != 3 {
					t.Errorf("there are %+v", left)
				}
			})
		})
	}
}
