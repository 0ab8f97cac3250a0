package lxd

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/lab/guests"
	"github-runner/lab/runnerapp"
)

func jsonInto(data []byte, into any) error { return json.Unmarshal(data, into) }

func bodyOf(text string) io.Reader { return strings.NewReader(text) }

// postJob is what the guest says about its end.
func (d *daemon) postJob(name string) string {
	d.t.Helper()
	content, ok := d.file(name, cloudinit.PostJobMetricsFile)
	if !ok {
		d.t.Fatalf("%s left no %s", name, cloudinit.PostJobMetricsFile)
	}
	var left struct {
		Timestamp float64 `json:"timestamp"`
		Status    string  `json:"status"`
	}
	must(d.t, json.Unmarshal([]byte(content), &left))
	if left.Timestamp < 1e9 {
		d.t.Errorf("%s has no time: %s", cloudinit.PostJobMetricsFile, content)
	}
	return left.Status
}

func TestGuestRunsOneJobAndPowersOff(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	session := d.launch("r1")
	session.jobs <- runnerapp.Job{ID: 4, RunID: 77, Name: "build", Workflow: "CI", Repository: "o/r", Event: "push"}
	d.waitFile("r1", cloudinit.PreJobDoneFile)
	metrics, _ := d.file("r1", cloudinit.PreJobMetricsFile)
	for _, want := range []string{`"workflow":"CI"`, `"repository":"o/r"`, `"event":"push"`, `"workflow_run_id":"77"`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s lacks %s: %s", cloudinit.PreJobMetricsFile, want, metrics)
		}
	}
	if _, ok := d.file("r1", cloudinit.RunCompletedFile); ok {
		t.Error("the run is completed while the job runs")
	}
	close(session.end)
	if conclusion := await(t, "the job is finished", session.finished); conclusion != runnerapp.Success {
		t.Errorf("the job ends as %q", conclusion)
	}
	d.until("instance-shutdown r1")
	if status := d.postJob("r1"); status != "normal" {
		t.Errorf("the guest ends as %q", status)
	}
	if _, ok := d.file("r1", cloudinit.RunCompletedFile); !ok {
		t.Error("the guest does not say that it is through")
	}
	if status := d.status("r1"); status != "Stopped" {
		t.Errorf("the instance is %s", status)
	}
	// It must not serve again.
	must(t, d.power("r1", "start"))
	d.until("instance-shutdown r1")
	if len(session.online) != 0 {
		t.Error("a machine that has served comes online again")
	}
}

func TestGuestEndsWithoutAJob(t *testing.T) {
	tests := map[string]func(d *daemon, s *session){
		"registration gone": func(_ *daemon, s *session) { close(s.gone) },
		"application killed": func(d *daemon, _ *session) {
			operation, err := d.client.ExecInstance("r1", execPost("pkill", "-KILL", "-f", "Runner.Listener"), nil)
			must(d.t, d.wait(operation, err))
		},
	}
	for name, act := range tests {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t)
			d.watch()
			act(d, d.launch("r1"))
			d.until("instance-shutdown r1")
			if status := d.postJob("r1"); status != "abnormal" {
				t.Errorf("the guest ends as %q", status)
			}
			if log, _ := d.file("r1", cloudinit.DiagFile); !strings.Contains(log, "Listening for Jobs") {
				t.Errorf("the log says %q", log)
			}
		})
	}
}

func TestGuestThatRebootsInsideAJobDoesNotServeAgain(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	session := d.launch("r1")
	session.jobs <- runnerapp.Job{ID: 4}
	d.waitFile("r1", cloudinit.PreJobDoneFile)
	operation, err := d.client.ExecInstance("r1", execPost("systemctl", "reboot"), nil)
	must(t, d.wait(operation, err))
	// The client tells of events in any order: of the reboot's and of the guest's own.
	d.until("instance-shutdown r1")
	d.until("instance-shutdown r1")
	if log, _ := d.file("r1", cloudinit.DiagFile); !strings.Contains(log, "served already") {
		t.Errorf("the log says %q", log)
	}
	if len(session.online) != 0 || len(session.finished) != 0 {
		t.Error("the runner is back after the reboot")
	}
}

func TestGuestFaults(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	add := func(fault Fault) {
		t.Helper()
		_, err := d.faults.Add(fault)
		must(t, err)
	}
	add(Fault{Kind: AppExits, Name: "exits-*", Message: "libicu is missing"})
	add(Fault{Kind: NeverOnline, Name: "silent"})
	add(Fault{Kind: LongPreJob, Name: "long", For: time.Hour})

	must(t, d.create("exits-1", "jit"))
	must(t, d.power("exits-1", "start"))
	d.until("instance-shutdown exits-1")
	if log, _ := d.file("exits-1", cloudinit.DiagFile); log != "libicu is missing\n" {
		t.Errorf("the log says %q", log)
	}

	must(t, d.create("silent", "jit of silent"))
	must(t, d.power("silent", "start"))
	d.waitFile("silent", cloudinit.DiagFile)
	if len(d.github.session("jit of silent").online) != 0 {
		t.Error("the silent guest comes online")
	}

	long := d.launch("long")
	long.jobs <- runnerapp.Job{ID: 1}
	d.waitFile("long", cloudinit.PreJobMetricsFile)
	if _, ok := d.file("long", cloudinit.PreJobDoneFile); ok {
		t.Error("the long pre-job script is through")
	}
}

func TestGuestMeetsHostileFolder(t *testing.T) {
	d := startDaemon(t)
	d.watch()
	session := d.launch("r1")
	secret := filepath.Join(d.exchange, "secret")
	must(t, os.WriteFile(secret, []byte("mine"), 0o600))
	must(t, os.Symlink(secret, filepath.Join(d.exchange, "r1", cloudinit.PostJobMetricsFile)))
	close(session.gone)
	d.until("instance-shutdown r1")
	if content, err := os.ReadFile(secret); err != nil || string(content) != "mine" {
		t.Errorf("the guest wrote through a link: %q, %v", content, err)
	}
}

func TestForeignMachineJustRuns(t *testing.T) {
	d := startDaemon(t)
	must(t, d.create("web", ""))
	must(t, d.power("web", "start"))
	if status := d.status("web"); status != "Running" {
		t.Errorf("the instance is %s", status)
	}
}

// waitFile waits until a guest has left a file.
func (d *daemon) waitFile(name, file string) {
	d.t.Helper()
	deadline := time.Now().Add(soon)
	for {
		if _, ok := d.file(name, file); ok {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("waited in vain for %s of %s", file, name)
		}
		// The guest, behind a real socket, tells of nothing.
		time.Sleep(time.Millisecond)
	}
}

func TestFilesOfUserDataCanBeReadInAGuest(t *testing.T) {
	d := startDaemon(t)
	must(t, d.create("r1", "jit"))
	read := func(path string) string {
		t.Helper()
		content, _, err := d.client.GetInstanceFile("r1", path)
		if err != nil {
			return ""
		}
		defer content.Close()
		text, err := io.ReadAll(content)
		must(t, err)
		return string(text)
	}
	if got := read("/etc/other"); got != "" {
		t.Errorf("an instance that never started has the file: %q", got)
	}
	d.watch()
	must(t, d.power("r1", "start"))
	await(t, "the runner is online", d.github.session("jit").online)
	if got := read("/etc/other"); got != "x" {
		t.Errorf("got %q", got)
	}
	if got := read(cloudinit.JITPath); got != "" {
		t.Errorf("the credentials are still there: %q", got)
	}
}

// A world without GitHub has guests all the same: their application ends.
func TestGuestWithoutGitHub(t *testing.T) {
	server, err := New(Options{Dir: shortDir(t), Timing: Quick()})
	must(t, err)
	if _, err := server.options.Listen("jit"); !errors.Is(err, guests.ErrNoGitHub) {
		t.Errorf("a session without GitHub: %v", err)
	}
}
