package runnerapp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fmt"

	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

// place is an unpacked application beside a GitHub of the lab's.
type place struct {
	*github.Server
	t   *testing.T
	url string
	dir string
}

// The application is packed once for all tests, by TestMain.
var packed struct {
	path, sum string
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "packed-")
		if err == nil {
			defer os.RemoveAll(dir)
			packed.path, packed.sum, err = runnerapp.Pack(context.Background(), dir, "x64")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func unpack(t *testing.T) place {
	t.Helper()
	server, err := github.New(github.Options{Applications: []string{packed.path}})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "-xzf", packed.path).CombinedOutput(); err != nil {
		t.Fatalf("cannot unpack: %v: %s", err, out)
	}
	return place{server, t, listener.URL, dir}
}

func (p place) jit(name string) string {
	p.t.Helper()
	body := strings.NewReader(`{"name":"` + name + `","runner_group_id":1,"labels":["self-hosted"]}`)
	request := httptest.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+"/repos/acme/widgets/actions/runners/generate-jitconfig", body)
	request.Header.Set("Authorization", "Bearer abc")
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, request)
	_, rest, _ := strings.Cut(answer.Body.String(), `"encoded_jit_config":"`)
	jit, _, _ := strings.Cut(rest, `"`)
	return jit
}

func (p place) write(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// run starts run.sh and returns what it printed once it ended.
func (p place) run(args []string, environment ...string) func() (string, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	p.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "run.sh"), args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return func() (string, error) {
		err := cmd.Wait()
		return out.String(), err
	}
}

func (p place) queue(job github.JobRequest) {
	p.t.Helper()
	if _, err := p.Queue(job); err != nil {
		p.t.Fatal(err)
	}
}

func (p place) wait(condition github.Condition) {
	p.t.Helper()
	condition.Timeout = 20 * time.Second
	if err := p.Wait(p.t.Context(), condition); err != nil {
		p.t.Fatal(err)
	}
}

func TestJobWithHook(t *testing.T) {
	p := unpack(t)
	hook := p.write("hook.sh", `
		echo "hook for $GITHUB_REPOSITORY $GITHUB_EVENT_NAME $GITHUB_WORKFLOW $GITHUB_BASE_REF<$GITHUB_HEAD_REF from $FROM_ENV"
		grep -o '"full_name":"[^"]*"' "$GITHUB_EVENT_PATH" | head -1
		ps ax -o comm= | grep -c '^Runner.Worker'
		echo "jit: ${ACTIONS_RUNNER_INPUT_JITCONFIG:-none}"`)
	p.write(".env", "ACTIONS_RUNNER_HOOK_JOB_STARTED="+hook+"\nFROM_ENV=a \"b\" $c\n# FROM_ENV=x\nnonsense\n")
	ended := p.run(nil, "ACTIONS_RUNNER_INPUT_JITCONFIG="+p.jit("one"))
	p.queue(github.JobRequest{Event: "pull_request", Workflow: "Say 'it'", Script: "echo step in $(pwd); test -n \"$GITHUB_SHA\""})
	out, err := ended()
	if err != nil {
		t.Errorf("run.sh ends with %v: %s", err, out)
	}
	job := p.Jobs()[0]
	if job.Conclusion != runnerapp.Success {
		t.Errorf("the job ended with %q: %s\n%s", job.Conclusion, job.Log, out)
	}
	for _, want := range []string{
		`hook for acme/widgets pull_request Say 'it' main<feature from a "b" $c`,
		`"full_name":"acme/widgets"`,
		"jit: none",
		"step in " + filepath.Join(p.dir, "_work/widgets/widgets"),
	} {
		if !strings.Contains(job.Log, want) {
			t.Errorf("the job's log lacks %q:\n%s", want, job.Log)
		}
	}
	for _, want := range []string{"Listening for jobs", "Running job: build", "completed with result: success"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	for _, pattern := range []string{"_diag/Runner_*-utc.log", "_diag/Worker_*-utc.log"} {
		if found, _ := filepath.Glob(filepath.Join(p.dir, pattern)); len(found) != 1 {
			t.Errorf("%s: %v, want one", pattern, found)
		}
	}
	if len(p.Runners()) != 0 {
		t.Error("the registration is still there")
	}
}

func TestHowJobsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		hook, script string
		want         string
		stepRan      bool
	}{
		"script fails":  {"", "echo step; exit 3", runnerapp.Failure, true},
		"a line fails":  {"", "echo step; false; true", runnerapp.Failure, true},
		"hook fails":    {"exit 1", "echo step", runnerapp.Failure, false},
		"hook is lost":  {"-", "echo step", runnerapp.Failure, false},
		"hook and step": {"true", "echo step", runnerapp.Success, true},
		"no script":     {"", "", runnerapp.Success, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := unpack(t)
			switch test.hook {
			case "":
			case "-":
				p.write(".env", "ACTIONS_RUNNER_HOOK_JOB_STARTED=/nowhere.sh\n")
			default:
				p.write(".env", "ACTIONS_RUNNER_HOOK_JOB_STARTED="+p.write("hook.sh", test.hook)+"\n")
			}
			ended := p.run([]string{"--jitconfig", p.jit("one")})
			p.queue(github.JobRequest{Script: test.script, Duration: time.Millisecond})
			if out, err := ended(); err != nil {
				t.Errorf("run.sh ends with %v: %s", err, out)
			}
			job := p.Jobs()[0]
			if job.Conclusion != test.want || strings.Contains(job.Log, "step\n") != test.stepRan {
				t.Errorf("conclusion %q, want %q; log:\n%s", job.Conclusion, test.want, job.Log)
			}
		})
	}
}

func TestJobThatIsEnded(t *testing.T) {
	for _, script := range []string{"", "sleep 600"} {
		for _, how := range []string{runnerapp.Success, runnerapp.Cancelled} {
			t.Run(how+script, func(t *testing.T) {
				p := unpack(t)
				ended := p.run([]string{"--jitconfig=" + p.jit("one")})
				p.queue(github.JobRequest{Script: script, Duration: time.Hour})
				p.wait(github.Condition{Jobs: github.InProgress})
				p.End(nil, how)
				if out, err := ended(); err != nil {
					t.Errorf("run.sh ends with %v: %s", err, out)
				}
				if job := p.Jobs()[0]; job.Conclusion != how {
					t.Errorf("conclusion %q, want %q", job.Conclusion, how)
				}
			})
		}
	}
}

func TestListenerWithoutWork(t *testing.T) {
	p := unpack(t)
	listener := func(args ...string) (int, string) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(p.dir, "bin/Runner.Listener"), args...)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, out := listener("--version"); code != 0 || strings.TrimSpace(out) != runnerapp.Version {
		t.Errorf("--version: %d %q", code, out)
	}
	removed := p.jit("removed")
	for _, r := range p.Runners() {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, fmt.Sprint("/repos/acme/widgets/actions/runners/", r.ID), nil)
		request.Header.Set("Authorization", "Bearer abc")
		p.ServeHTTP(httptest.NewRecorder(), request)
	}
	conflict := p.jit("twice")
	session, err := runnerapp.Open(conflict)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if err := session.Online(ctx); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want int
	}{
		"not configured": {[]string{"run"}, 1},
		"rubbish":        {[]string{"run", "--jitconfig", "%%%"}, 1},
		"removed":        {[]string{"run", "--jitconfig", removed}, 1},
		"twice":          {[]string{"run", "--jitconfig", conflict}, 5},
	} {
		if code, out := listener(test.args...); code != test.want {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, test.want, out)
		}
	}
	// run.sh makes 0 of it, as the real one does.
	if out, err := p.run(nil)(); err != nil {
		t.Errorf("run.sh ends with %v: %s", err, out)
	}
}

func TestTerminated(t *testing.T) {
	p := unpack(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.dir, "run.sh"), "--jitconfig", p.jit("one"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	one := 1
	p.wait(github.Condition{Online: &one})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("run.sh ends with %v", err)
	}
	none := 0
	p.wait(github.Condition{Online: &none, Registered: &one})
}

func TestPackIsReproducible(t *testing.T) {
	path, sum, err := runnerapp.Pack(t.Context(), t.TempDir(), "x64")
	if err != nil {
		t.Fatal(err)
	}
	if sum != packed.sum || filepath.Base(path) != filepath.Base(packed.path) {
		t.Errorf("packed again it is %s with %s, not %s", path, sum, packed.sum)
	}
	if _, _, err := runnerapp.Pack(t.Context(), t.TempDir(), "mips"); err == nil {
		t.Error("an unknown architecture was packed")
	}
}

func TestOpenRefusesWhatIsNoConfiguration(t *testing.T) {
	for _, jit := range []string{"", "%", "e30=", "bnVsbA==", "eyJ1cmwiOiI6Iiwia2V5IjoieCIsInJ1bm5lcl9pZCI6MX0="} {
		if _, err := runnerapp.Open(jit); err == nil {
			t.Errorf("%q was opened", jit)
		}
	}
	blob, err := runnerapp.Blob{URL: "http://127.0.0.1:1", RunnerID: 1, Key: "k"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	session, err := runnerapp.Open(blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Online(t.Context()); err == nil || errors.Is(err, runnerapp.ErrGone) {
		t.Errorf("nobody there: %v", err)
	}
}
