package lxd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// born returns the name of a runner that is online.
func born(t *testing.T, cloud *Cloud, web *webServer) string {
	t.Helper()
	clock := time.Now()
	lap := func(what string) {
		t.Logf("%-16s %6d ms", what, time.Since(clock).Milliseconds())
		clock = time.Now()
	}
	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil {
		t.Fatal(err)
	}
	lap("prepare")
	birth := web.birth(cloud)
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	lap("create, start")
	web.await(t, "online/"+birth.Name)
	lap("boot to online")
	return birth.Name
}

// find returns the only instance of that name.
func find(t *testing.T, cloud *Cloud, name string) runner.Instance {
	t.Helper()
	all, err := cloud.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, instance := range all {
		if instance.Name == name {
			return instance
		}
	}
	return runner.Instance{}
}

// until waits for changes of the cloud until the instance is as wanted.
func until(t *testing.T, cloud *Cloud, name string, wanted func(runner.Instance) bool) runner.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	changes, err := cloud.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for {
		instance := find(t, cloud, name)
		if wanted(instance) {
			return instance
		}
		if _, ok := <-changes; !ok {
			t.Fatalf("waited in vain, %s is %+v", name, instance)
		}
	}
}

const testJob = `
call job; export GITHUB_WORKFLOW='CI "quoted"' GITHUB_REPOSITORY=acme/widgets GITHUB_EVENT_NAME=push GITHUB_RUN_ID=42
`

func TestRealJob(t *testing.T) {
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	name := born(t, cloud, web)

	idle := find(t, cloud, name)
	if idle.Status != runner.StatusRunning || idle.Working != runner.WorkingNo || idle.TookJob || idle.RunnerID != 7 || idle.Scope != web.want().Scope {
		t.Errorf("an idle runner is %+v", idle)
	}

	preJob := make(chan error, 1)
	go func() { preJob <- cloud.PreJobDone(t.Context(), name) }()
	web.run(name, testJob+`
		[ "$(id -un)" = ubuntu ] && sudo -n true || exit 3
		ls /etc/github-runner/jit-config 2>/dev/null && exit 4
		ls /dev/lxd/sock 2>/dev/null && exit 5
		cp /bin/sleep Runner.Worker; ./Runner.Worker 1000 & bash "$ACTIONS_RUNNER_HOOK_JOB_STARTED" || exit 6
		call working; curl -fsS `+web.url+`/next/end; kill %1; exit 0`)
	web.await(t, "working")
	if err := <-preJob; err != nil {
		t.Errorf("waiting for the pre-job script: %v", err)
	}
	busy := find(t, cloud, name)
	if busy.Working != runner.WorkingYes || !busy.TookJob || !busy.PreJobDone || busy.Completed {
		t.Errorf("a busy runner is %+v", busy)
	}
	if atWork, err := workers("/proc"); !atWork[name] || err != nil {
		t.Errorf("the worker process is not seen from the host: %v", err)
	}
	web.script("end") <- ""
	until(t, cloud, name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped && i.Completed })

	dir := t.TempDir()
	remains, err := cloud.Collect(t.Context(), name, dir)
	if err != nil {
		t.Fatal(err)
	}
	var pre struct {
		Workflow, Repository, Event string
		Timestamp                   float64
		WorkflowRunID               string `json:"workflow_run_id"`
	}
	if err := json.Unmarshal(remains.PreJob, &pre); err != nil || pre.Workflow != `CI "quoted"` || pre.WorkflowRunID != "42" || pre.Timestamp < 1e9 {
		t.Errorf("pre-job file: %s", remains.PreJob)
	}
	if !remains.EndedWell() {
		t.Errorf("post-job file: %s", remains.PostJob)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("logs of a good end were kept: %v", entries)
	}
	if err := cloud.Delete(t.Context(), name); err != nil {
		t.Error(err)
	}
	if gone := find(t, cloud, name); gone.Name != "" {
		t.Errorf("a deleted runner is %+v", gone)
	}
	if err := cloud.Delete(t.Context(), name); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestRealAbnormalEnd(t *testing.T) {
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	name := born(t, cloud, web)
	web.run(name, `mkdir -p _diag; echo "the listener's last words" > _diag/Runner_20260101-000000-utc.log; mkfifo _diag/Runner_20260102-000000-utc.log; ln -s /dev/zero _diag/z_20260103.log; echo "cannot go on" >&2; exit 9`)
	until(t, cloud, name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped })
	dir := t.TempDir()
	remains, err := cloud.Collect(t.Context(), name, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(remains.LastLines, "cannot go on") || !strings.Contains(string(remains.PostJob), `"code": 9`) {
		t.Errorf("remains of an abnormal end: %s, %q", remains.PostJob, remains.LastLines)
	}
	for file, words := range map[string]string{
		cloudinit.DiagFile: "the listener's last words",
		consoleFile:        "systemd",
	} {
		if content, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(content), words) {
			t.Errorf("%s was not kept: %v", file, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, cloudinit.DiagFile)); err == nil {
		t.Logf("diag has %d bytes", info.Size())
	}
}

func TestRealApplicationWithAWrongChecksum(t *testing.T) {
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	want := web.want()
	want.Application.SHA256 = strings.Repeat("0", 64)
	template, err := cloud.Prepare(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	birth := web.birth(cloud)
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	stopped := until(t, cloud, birth.Name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped })
	remains, err := cloud.Collect(t.Context(), birth.Name, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if stopped.TookJob || !strings.Contains(remains.LastLines, "wrong checksum") {
		t.Errorf("%+v left %q", stopped, remains.LastLines)
	}
}

func TestRealRebootDoesNotServeAgain(t *testing.T) {
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	name := born(t, cloud, web)
	web.run(name, "sudo systemctl reboot --force; sleep 60")
	stopped := until(t, cloud, name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped })
	if stopped.Working != runner.WorkingNo {
		t.Errorf("a stopped runner is %+v", stopped)
	}
	select {
	case <-web.called("online/" + name):
		t.Error("the machine served twice")
	default:
	}
}

func TestRealManyAtOnce(t *testing.T) {
	const count = 4
	cloud := realCloud(t, nil)
	web := newWebServer(t)
	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var group errgroup.Group
	var births []runner.Birth
	for range count {
		birth := web.birth(cloud)
		births = append(births, birth)
		group.Go(func() error { return cloud.Create(t.Context(), template, birth) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d created and started after %d ms", count, time.Since(start).Milliseconds())
	for _, birth := range births {
		web.await(t, "online/"+birth.Name)
	}
	t.Logf("%d online after %d ms", count, time.Since(start).Milliseconds())
	start = time.Now()
	for _, birth := range births {
		// Twice: the second caller finds it busy, or gone.
		group.Go(func() error { return cloud.Delete(t.Context(), birth.Name) })
		group.Go(func() error { return cloud.Delete(t.Context(), birth.Name) })
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d deleted in %d ms", count, time.Since(start).Milliseconds())
}

func TestRealRepairsWhatWasEdited(t *testing.T) {
	cloud := realCloud(t, nil)
	want := runner.Want{Count: 1}
	first, err := cloud.Prepare(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	server, cancel, err := cloud.connect(t.Context(), callDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	edited := cloud.profile(false)
	edited.Config["limits.cpu"] = "7"
	if err := server.change("PUT", apiPath("profiles", cloud.profileName(false)), edited, ""); err != nil {
		t.Fatal(err)
	}
	networks, err := server.GetNetworks()
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range networks {
		if network.Name == cloud.config.unitName() {
			network.Config["ipv4.nat"] = "false"
			if err := server.change("PUT", apiPath("networks", network.Name), network.Writable(), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	second, err := cloud.Prepare(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash != second.Hash {
		t.Error("a repair made another template")
	}
	if err := cloud.readBackNetwork(server); err != nil {
		t.Error(err)
	}
	profiles, err := server.GetProfiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, profile := range profiles {
		if profile.Name == cloud.profileName(false) && profile.Config["limits.cpu"] != "1" {
			t.Errorf("the profile was not repaired: %v", profile.Config)
		}
	}
}

func TestRealMissingImage(t *testing.T) {
	cloud := realCloud(t, func(c *Config) { c.ImageAlias = "resolute" })
	_, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	var trouble runner.Trouble
	if !errors.As(err, &trouble) || !strings.Contains(trouble.Advice, "lxc image copy ubuntu:26.04 local: --alias resolute") {
		t.Errorf("Prepare without an image: %v", err)
	}
	if _, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil {
		t.Errorf("Prepare for no runners: %v", err)
	}
}

func TestRealVirtualMachineWithoutKVM(t *testing.T) {
	cloud := realCloud(t, func(c *Config) { c.InstanceType = VirtualMachine })
	server, cancel, err := cloud.connect(t.Context(), callDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	info, _, err := server.GetServer()
	if err != nil {
		t.Fatal(err)
	}
	_, err = cloud.Prepare(t.Context(), runner.Want{Count: 1})
	var trouble runner.Trouble
	refused := errors.As(err, &trouble) && strings.Contains(trouble.Advice, "lxd-instance-type=container")
	if able := strings.Contains(info.Environment.Driver, "qemu"); refused == able {
		t.Errorf("Prepare with the drivers %q: %v", info.Environment.Driver, err)
	}
}
