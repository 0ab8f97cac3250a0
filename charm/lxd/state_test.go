package lxd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

func TestStatus(t *testing.T) {
	now := time.Now()
	started := map[string]string{keyPower: "STOPPED"}
	young := map[string]string{markPrefix + runner.MarkCreated: now.Add(-time.Second).Format(time.RFC3339Nano)}
	old := map[string]string{markPrefix + runner.MarkCreated: now.Add(-time.Hour).Format(time.RFC3339Nano)}
	for name, test := range map[string]struct {
		code     api.StatusCode
		config   map[string]string
		activity activity
		wanted   runner.Status
	}{
		"running":                       {api.Running, started, "", runner.StatusRunning},
		"frozen":                        {api.Frozen, started, "", runner.StatusRunning},
		"starting":                      {api.Starting, started, "", runner.StatusRunning},
		"stopped after it ran":          {api.Stopped, started, "", runner.StatusStopped},
		"being deleted":                 {api.Stopped, started, deleting, runner.StatusDeleting},
		"being deleted while it runs":   {api.Running, started, deleting, runner.StatusDeleting},
		"being unpacked":                {api.Stopped, old, creating, runner.StatusCreating},
		"just before its start":         {api.Stopped, young, "", runner.StatusCreating},
		"its maker died before a start": {api.Stopped, old, "", runner.StatusError},
		"slow to answer":                {api.Error, started, "", runner.StatusRunning},
		"slow to answer at its start":   {api.Error, old, "", runner.StatusRunning},
	} {
		instance := api.Instance{StatusCode: test.code, Config: test.config}
		if got := status(instance, test.activity, now); got != test.wanted {
			t.Errorf("%s: %s, wanted %s", name, got, test.wanted)
		}
	}
}

func TestWork(t *testing.T) {
	pre, post := files{cloudinit.PreJobMetricsFile: true}, files{cloudinit.PreJobMetricsFile: true, cloudinit.PostJobMetricsFile: true}
	completed := files{cloudinit.RunCompletedFile: true}
	const running, stopped = runner.StatusRunning, runner.StatusStopped
	for name, test := range map[string]struct {
		kind   string
		code   api.StatusCode
		status runner.Status
		seen   sight
		wanted runner.Working
	}{
		"container, nothing":                  {Container, api.Running, running, sight{}, runner.WorkingNo},
		"container, worker":                   {Container, api.Running, running, sight{worker: true}, runner.WorkingYes},
		"container, worker and faked end":     {Container, api.Running, running, sight{left: post, worker: true}, runner.WorkingYes},
		"container, job came":                 {Container, api.Running, running, sight{left: pre}, runner.WorkingYes},
		"container, job ended":                {Container, api.Running, running, sight{left: post}, runner.WorkingNo},
		"container, stopped inside a job":     {Container, api.Stopped, stopped, sight{left: pre}, runner.WorkingNo},
		"container, slow to answer":           {Container, api.Error, running, sight{}, runner.WorkingUnknown},
		"container, slow with a worker":       {Container, api.Error, running, sight{worker: true}, runner.WorkingYes},
		"container, slow after a job":         {Container, api.Error, running, sight{left: post}, runner.WorkingUnknown},
		"container, unseen":                   {Container, api.Running, running, sight{blind: true}, runner.WorkingUnknown},
		"container, unseen, job came":         {Container, api.Running, running, sight{blind: true, left: pre}, runner.WorkingYes},
		"container, unseen, faked end":        {Container, api.Running, running, sight{blind: true, left: post}, runner.WorkingUnknown},
		"virtual machine, nothing":            {VirtualMachine, api.Running, running, sight{}, runner.WorkingUnseen},
		"virtual machine, files unreadable":   {VirtualMachine, api.Running, running, sight{blind: true}, runner.WorkingUnknown},
		"virtual machine, slow to answer":     {VirtualMachine, api.Error, running, sight{}, runner.WorkingUnknown},
		"virtual machine, job came":           {VirtualMachine, api.Running, running, sight{left: pre}, runner.WorkingYes},
		"virtual machine, nothing more to do": {VirtualMachine, api.Running, running, sight{left: completed}, runner.WorkingNo},
	} {
		got := work(api.Instance{Type: test.kind, StatusCode: test.code}, test.status, test.seen)
		if got != test.wanted {
			t.Errorf("%s: %d, wanted %d", name, got, test.wanted)
		}
	}
}

func TestKinship(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	owner := cloud.config.Owner
	other := runner.Owner{ModelUUID: "another", Unit: owner.Unit}
	tenth := runner.Owner{ModelUUID: owner.ModelUUID, Unit: "tests/10"}
	mark := func(o runner.Owner) map[string]string {
		return map[string]string{keyModel: o.ModelUUID, keyUnit: o.Unit}
	}
	for name, test := range map[string]struct {
		instance string
		config   map[string]string
		wanted   runner.Kinship
	}{
		"ours":                             {owner.NewName(), mark(owner), runner.KinOurs},
		"our name, no metadata":            {owner.NewName(), nil, runner.KinForeign},
		"our name, another's metadata":     {owner.NewName(), mark(other), runner.KinForeign},
		"another model's unit of our name": {other.NewName(), mark(other), runner.KinStranger},
		"another model's name, unmarked":   {other.NewName(), nil, runner.KinForeign},
		"unit 10":                          {tenth.NewName(), mark(tenth), runner.KinStranger},
		"something else":                   {"database", nil, runner.KinStranger},
		"something else with our marks":    {"copy-of-a-runner", mark(owner), runner.KinStranger},
	} {
		if got := cloud.kinship(api.Instance{Name: test.instance, Config: test.config}); got != test.wanted {
			t.Errorf("%s: %d, wanted %d", name, got, test.wanted)
		}
	}
}

func TestMetadataReadsBack(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	birth := runner.Birth{Name: cloud.config.Owner.NewName(), Scope: runner.Scope{API: "https://a", Path: "b/c"}, RunnerID: 1 << 60}
	created := time.Now().UTC().Round(0)
	config := cloud.metadata(runner.Template{Hash: "h"}, birth, created)
	got := describe(api.Instance{Name: birth.Name, Config: config})
	wanted := runner.Instance{Name: birth.Name, Scope: birth.Scope, RunnerID: birth.RunnerID, Created: created, Hash: "h"}
	if got != wanted {
		t.Errorf("%+v, wanted %+v", got, wanted)
	}
	config[markPrefix+runner.MarkRunnerID], config[markPrefix+runner.MarkCreated] = "x", "yesterday"
	if got := describe(api.Instance{CreatedAt: created, Config: config}); got.RunnerID != 0 || !got.Created.Equal(created) {
		t.Errorf("of edited metadata: %+v", got)
	}
}

func TestOperations(t *testing.T) {
	operation := api.Operation{Description: "Deleting instance", Resources: map[string][]string{"instances": {"/1.0/instances/a?project=p", "/1.0/instances/b"}}}
	if names := instancesOf(operation); len(names) != 2 || names[0] != "a" || names[1] != "b" {
		t.Errorf("instances %q", names)
	}
	for words, wanted := range map[string]activity{"Creating instance": creating, "Starting instance": creating, "Deleting instance": deleting, "Stopping instance": "", "": ""} {
		if got := activityOf(api.Operation{Description: words}); got != wanted {
			t.Errorf("%q is %q", words, got)
		}
	}
}

func TestSubjectOfEvents(t *testing.T) {
	event := `{"type":"lifecycle","metadata":{"action":"instance-started","source":%q}}`
	for message, wanted := range map[string][2]string{
		fmt.Sprintf(event, "/1.0/instances/a-0-ab12"):                   {"instances", "a-0-ab12"},
		fmt.Sprintf(event, "/1.0/instances/a-0-ab12?project=p"):         {"instances", "a-0-ab12"},
		fmt.Sprintf(event, "/1.0/instances/a-0-ab12/snapshots/x"):       {"instances", "a-0-ab12"},
		fmt.Sprintf(event, "/1.0/images/f00d"):                          {"images", "f00d"},
		fmt.Sprintf(event, "/1.0/networks/a-0-ab12"):                    {"networks", "a-0-ab12"},
		fmt.Sprintf(event, "/1.0"):                                      {},
		`{"type":"operation","metadata":{"source":"/1.0/instances/a"}}`: {},
		`{"type":"lifecycle","metadata":[]}`:                            {},
		`torn`:                                                          {},
	} {
		if kind, name := subjectOf([]byte(message)); [2]string{kind, name} != wanted {
			t.Errorf("%s is about %q %q, want %q", message, kind, name, wanted)
		}
	}
}

func TestClassify(t *testing.T) {
	for name, test := range map[string]struct {
		err, wanted error
	}{
		"404":           {api.StatusErrorf(http.StatusNotFound, "Instance not found"), runner.ErrNotFound},
		"409":           {api.StatusErrorf(http.StatusConflict, "exists"), runner.ErrExists},
		"403":           {api.StatusErrorf(http.StatusForbidden, "not authorized"), runner.ErrForbidden},
		"503":           {api.StatusErrorf(http.StatusServiceUnavailable, "LXD is shutting down"), runner.ErrUnreachable},
		"no daemon":     {&url.Error{Op: "Get", Err: errors.New("connection refused")}, runner.ErrUnreachable},
		"disk full":     {errors.New("write x: no space left on device"), runner.ErrQuota},
		"no address":    {errors.New("No available IP could not be found"), runner.ErrQuota},
		"already named": {cannot(api.StatusErrorf(http.StatusNotFound, "x"), "do it"), runner.ErrNotFound},
	} {
		if got := classify(test.err); !errors.Is(got, test.wanted) || !errors.Is(got, test.err) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if plain := errors.New("anything else"); classify(plain) != plain {
		t.Error("an unknown error was changed")
	}
	if !isBusy(errors.New("Instance is busy running a \"start\" operation")) || isBusy(errors.New("not found")) {
		t.Error("isBusy")
	}
}

func TestDistribution(t *testing.T) {
	for release, wanted := range map[string]string{
		"NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n": "ubuntu",
		"VERSION_ID=\"12\"\nID=\"debian\"":             "debian",
		"":                                             "",
	} {
		if got := distribution(release); got != wanted {
			t.Errorf("%q is %q", release, got)
		}
	}
}

func TestInstallLeavesAloneWhatIsThere(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LXD_DIR", t.TempDir())
	if err := cloud.Install(t.Context(), func(step string) { t.Errorf("did %s", step) }); err != nil {
		t.Error(err)
	}
	if err := cloud.Ready(t.Context()); !errors.Is(err, runner.ErrUnreachable) {
		t.Errorf("a daemon that is not there: %v", err)
	}
}

// A daemon has been seen that takes a call and never answers it.
func TestCallsEndWithTheirContext(t *testing.T) {
	config := testConfig(t)
	config.Socket = filepath.Join(t.TempDir(), "unix.socket")
	listener, err := net.Listen("unix", config.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	name := config.Owner.NewName()
	for call, do := range map[string]func(context.Context) error{
		"Ready":      cloud.Ready,
		"Prepare":    func(ctx context.Context) error { _, err := cloud.Prepare(ctx, runner.Want{}); return err },
		"List":       func(ctx context.Context) error { _, err := cloud.List(ctx); return err },
		"Delete":     func(ctx context.Context) error { return cloud.Delete(ctx, name) },
		"PreJobDone": func(ctx context.Context) error { return cloud.PreJobDone(ctx, name) },
		"Watch":      func(ctx context.Context) error { _, err := cloud.Watch(ctx); return err },
		"Destroy":    cloud.Destroy,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		connected := make(chan net.Conn, 1)
		go func() {
			connection, err := listener.Accept()
			if err == nil {
				connected <- connection
			}
			cancel()
		}()
		if err := do(ctx); err == nil {
			t.Errorf("%s was answered by nobody", call)
		}
		select {
		case connection := <-connected:
			connection.Close()
		case <-time.After(time.Minute):
			t.Errorf("%s did not call", call)
		}
	}
}
