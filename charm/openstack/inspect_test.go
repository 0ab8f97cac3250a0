package openstack

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/cloudinit"
	"github-runner/charm/guest"
	"github-runner/charm/runner"
	"github-runner/lab/faults"
	"github-runner/lab/openstack"
)

var _ Door = guest.Door{}

// room is the inside of all machines.
type room struct {
	files map[string]string
	// shut is why it can't be entered.
	shut error
	// asked are the machines that were, by name and address.
	asked []string
	// await stands in for waiting for a file.
	await func(ctx context.Context) error
}

func (r *room) Read(_ context.Context, name string, address netip.Addr, files []guest.File) (map[string][]byte, error) {
	r.asked = append(r.asked, name+" "+address.String())
	found := map[string][]byte{}
	for _, file := range files {
		if content, ok := r.files[strings.TrimPrefix(file.Path, cloudinit.ExchangeDir+"/")]; ok {
			found[file.Path] = []byte(content)
		}
	}
	if r.shut != nil {
		return nil, r.shut
	}
	return found, nil
}

func (r *room) Await(ctx context.Context, _ string, _ netip.Addr, path string) error {
	if path != "/home/ubuntu/metrics-exchange/pre-job-done" {
		return errors.New("it is the wrong file")
	}
	return r.await(ctx)
}

// by lets a unit in.
func (r *room) by(c *Config) { c.Door = r }

func TestInspect(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  runner.Instance
	}{
		"nothing came":    {nil, runner.Instance{Working: runner.WorkingUnseen}},
		"a job came":      {map[string]string{"pre-job-metrics.json": "{}"}, runner.Instance{Working: runner.WorkingYes, TookJob: true}},
		"it works":        {map[string]string{"pre-job-metrics.json": "{}", "pre-job-done": ""}, runner.Instance{Working: runner.WorkingYes, TookJob: true, PreJobDone: true}},
		"its job ended":   {map[string]string{"pre-job-metrics.json": "{}", "pre-job-done": "", "post-job-metrics.json": "{}"}, runner.Instance{Working: runner.WorkingNo, TookJob: true, PreJobDone: true}},
		"it ended":        {map[string]string{"run-completed": ""}, runner.Instance{Working: runner.WorkingNo, Completed: true}},
		"it ended, early": {map[string]string{"pre-job-metrics.json": "{}", "run-completed": ""}, runner.Instance{Working: runner.WorkingNo, TookJob: true, Completed: true}},
	}
	inYard(t, openstack.Options{}, func(y *yard) {
		r := &room{}
		u := y.unit(mine, r.by)
		name := u.create()
		if _, err := u.Inspect(y.Context(), runner.Instance{Name: name}); !errors.Is(err, errShut) {
			t.Errorf("one that is being built: %v", err)
		}
		y.built()
		u.list()
		u.calls.take()
		for what, test := range tests {
			r.files, test.want.Name = test.files, name
			got, err := u.Inspect(y.Context(), runner.Instance{Name: name})
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
			}
		}
		if made := u.calls.take(); len(made) != 0 {
			t.Errorf("it makes the calls %v", made)
		}
		if !strings.HasPrefix(r.asked[0], name+" 10.20.0.") {
			t.Errorf("it asks %s", r.asked[0])
		}
		r.shut = errors.New("no route to host")
		if _, err := u.Inspect(y.Context(), runner.Instance{Name: name}); !errors.Is(err, r.shut) {
			t.Errorf("one that can't be reached: %v", err)
		}
		_, err := u.Inspect(y.Context(), runner.Instance{Name: mine.NewName()})
		expect(t, err, runner.ErrNotFound)
	})
}

func TestAddresses(t *testing.T) {
	fixed := func(text string) address { return address{Address: text, Type: "fixed"} }
	for want, addresses := range map[string][]address{
		"10.0.0.7":    {fixed("2001:db8::1"), {"192.0.2.7", "floating"}, fixed("10.0.0.7"), fixed("10.0.0.8")},
		"2001:db8::1": {{"192.0.2.7", "floating"}, fixed("2001:db8::1")},
		"192.0.2.7":   {fixed("hostile"), {"192.0.2.7", "floating"}},
	} {
		if got, ok := (server{Addresses: map[string][]address{"lab": addresses}}).address(); !ok || got.String() != want {
			t.Errorf("it is reached at %v, want %s", got, want)
		}
	}
	if got, ok := (server{}).address(); ok {
		t.Errorf("one without addresses is reached at %v", got)
	}
}

func TestCollect(t *testing.T) {
	const normal, refused, crashed = `{"status": "normal"}`, `{"status": "repo-policy-check-failure"}`, `{"status": "abnormal"}`
	tests := map[string]struct {
		files map[string]string
		shut  error
		want  runner.Remains
		kept  []string
	}{
		"a job that went well": {map[string]string{"pre-job-metrics.json": "{}", "post-job-metrics.json": normal, "diag.log": "done"}, nil,
			runner.Remains{PreJob: []byte("{}"), PostJob: []byte(normal)}, nil},
		"one that was refused": {map[string]string{"pre-job-metrics.json": "{}", "post-job-metrics.json": refused}, nil,
			runner.Remains{PreJob: []byte("{}"), PostJob: []byte(refused)}, nil},
		"an idle one": {map[string]string{"diag.log": "√ Connected\nListening for Jobs\n"}, nil, runner.Remains{}, nil},
		"a crash": {map[string]string{"pre-job-metrics.json": "{}", "post-job-metrics.json": crashed, "diag.log": "no space left\x1b[0m\n"}, nil,
			runner.Remains{PreJob: []byte("{}"), PostJob: []byte(crashed), LastLines: "no space left [0m"}, []string{"console.log", "diag.log"}},
		"one that can't be reached": {nil, errors.New("no route to host"), runner.Remains{LastLines: "the console"}, []string{"console.log"}},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.unit(mine, (&room{files: test.files, shut: test.shut}).by)
				name := u.create()
				y.built()
				y.wait(time.Minute)
				dir := filepath.Join(t.TempDir(), "logs")
				got, err := u.Collect(y.Context(), name, dir)
				must(t, err)
				if test.want.LastLines == "the console" && got.LastLines != "" {
					test.want.LastLines = got.LastLines // whatever the emulation prints
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				var kept []string
				entries, _ := os.ReadDir(dir)
				for _, one := range entries {
					kept = append(kept, one.Name())
				}
				if !slices.Equal(kept, test.kept) {
					t.Errorf("the logs %v are kept, want %v", kept, test.kept)
				}
			})
		})
	}
}

// A machine that is off can't be asked; nobody tries.
func TestCollectFromOneThatIsOff(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		r := &room{}
		u := y.unit(mine, r.by)
		name := u.create()
		y.built()
		must(t, servers.Stop(y.Context(), u.services().compute, u.id(name)).ExtractErr())
		y.wait(y.timing.Power)
		if _, err := u.Collect(y.Context(), name, t.TempDir()); err != nil || len(r.asked) != 0 {
			t.Errorf("it asks %v, %v", r.asked, err)
		}
		if _, err := u.Collect(y.Context(), "app-1-database", t.TempDir()); err == nil {
			t.Error("it collects from somebody else's")
		}
	})
}

func TestPreJobDone(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		r := &room{}
		u, ctx := y.unit(mine, r.by), y.Context()
		name := u.create()
		y.built()
		began := time.Now()
		tries := 0
		r.await = func(context.Context) error {
			if tries++; tries < 4 {
				return errors.New("connection refused")
			}
			return nil
		}
		must(t, u.PreJobDone(ctx, name))
		if took := time.Since(began); tries != 4 || took != 3*askAgain {
			t.Errorf("it takes %d tries and %v", tries, took)
		}
		r.await = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := u.PreJobDone(short, name); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the end of patience: %v", err)
		}
		// One that goes meanwhile can't be asked any more.
		r.await = func(context.Context) error {
			y.fault(faults.Fault{Kind: openstack.Vanishes, Name: name})
			return errors.New("connection reset")
		}
		must(t, u.PreJobDone(ctx, name))
		if err := u.PreJobDone(ctx, "app-10-0"); err == nil {
			t.Error("it waits for somebody else's")
		}
	})
}
