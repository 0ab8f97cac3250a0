package acceptance

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"

	"github-runner/lab"
	"github-runner/lab/allinone"
	"github-runner/lab/skip"
)

// obstacle is how 'lab up' begins when this machine can't run a real LXD.
const obstacle = "cannot start a lab on real LXD: "

// stage is what sessions of one cloud are played on.
type stage struct {
	cloud string
	// share is the directory of a lab with a real OpenStack, where each session has a
	// project of its own; "": each session's lab has a cloud of its own.
	share string
	// guests are what the servers of a real OpenStack are; "" is as 'lab up' has it.
	guests allinone.Guests
	bin    string
	charm  string
	// labs holds one element for each lab that is up.
	labs chan struct{}
}

// condition answers what sessions ask of the cloud that they are on.
func (s stage) condition(name string) (bool, error) {
	on := lab.Lab{Cloud: s.cloud}
	conditions := map[string]bool{
		"real": !on.Emulated(), "emulated": on.Emulated(),
		"lxd": on.OnLXD(), "openstack": !on.OnLXD(),
	}
	is, known := conditions[name]
	if !known {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return is, nil
}

// setup brings up the session's lab, and sees to it that it goes again.
func (s stage) setup(env *testscript.Env) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return fmt.Errorf("cannot set up a session outside go test")
	}
	s.labs <- struct{}{}
	env.Defer(func() { <-s.labs })

	dir := filepath.Join(env.WorkDir, ".lab")
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := s.place(env.WorkDir, bin); err != nil {
		return err
	}
	env.Values[clockKey{}] = &clock{}
	env.Values[testKey{}] = t
	env.Values[policyKey{}] = &policyService{}
	if err := setKills(env); err != nil {
		return err
	}
	env.Setenv("LAB_DIR", dir)
	env.Setenv("ROOT", filepath.Join(dir, "root"))
	env.Setenv("CHARM", "./"+filepath.Base(s.charm))
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	env.Defer(func() { s.strike(t, dir) })

	up := []string{"up", "--cloud", s.cloud}
	if s.share != "" {
		up = append(up, "--share", s.share)
	}
	if s.guests != "" {
		up = append(up, "--guests", string(s.guests))
	}
	if isTagged(t, sessionOf(t), hooksTag) {
		up = append(up, "--no-agent")
	}
	out, err := s.run(dir, up...)
	if err != nil && s.cloud == lab.CloudLXD && strings.Contains(out, obstacle) {
		skip.Because(t, "real LXD can't run here: %s", out)
	}
	if err != nil {
		return fmt.Errorf("cannot bring up a lab: %w\n%s", err, out)
	}
	return setCloudConfig(env, dir)
}

// setCloudConfig sets $CLOUD_CONFIG to a file for "juju deploy --config" that tells
// the sessions' applications of the lab's cloud.
func setCloudConfig(env *testscript.Env, dir string) error {
	content, err := os.ReadFile((&lab.Lab{Dir: dir}).OptionsPath())
	if err != nil {
		return err
	}
	var options map[string]any
	if err := yaml.Unmarshal(content, &options); err != nil {
		return err
	}
	options["other"] = options[lab.DeployedName]
	if content, err = yaml.Marshal(options); err != nil {
		return err
	}
	file := filepath.Join(env.WorkDir, "cloud.yaml")
	env.Setenv("CLOUD_CONFIG", file)
	return os.WriteFile(file, content, 0o600)
}

// setKills tells the session "kills" how often to kill, and how many jobs that makes:
// one beside each kill of the four kinds, and one beside all.
func setKills(env *testscript.Env) error {
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("ACCEPTANCE_KILLS"), "2"))
	if err != nil || kills < 1 {
		return fmt.Errorf("ACCEPTANCE_KILLS is %q: give a whole number above 0", os.Getenv("ACCEPTANCE_KILLS"))
	}
	env.Setenv("KILLS", strconv.Itoa(kills))
	env.Setenv("KILLED_JOBS", strconv.Itoa(4*kills+1))
	return nil
}

// sessionOf is the file that a test plays: the last word of the test's name.
func sessionOf(t testing.TB) string {
	return filepath.Join("testdata", path.Base(t.Name())+".txtar")
}

// place puts the programs and the charm where a session finds them.
func (s stage) place(work, bin string) error {
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(s.bin, "lab"), filepath.Join(bin, "lab")); err != nil {
		return err
	}
	juju := "#!/bin/sh\nexec lab juju \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "juju"), []byte(juju), 0o755); err != nil {
		return err
	}
	return os.Symlink(s.charm, filepath.Join(work, filepath.Base(s.charm)))
}

// strike takes the lab down and proves that no process of it is left. What the
// lab logged is shown where the session failed.
func (s stage) strike(t testing.TB, dir string) {
	if t.Failed() {
		showLogs(t, dir)
	}
	if out, err := s.run(dir, "down"); err != nil {
		t.Errorf("cannot take the lab down: %v\n%s", err, out)
	}
	for _, left := range processesOf(dir) {
		t.Errorf("a process of the lab is left: %s", left)
		syscall.Kill(left.pid, syscall.SIGKILL)
	}
}

// run runs a command of the lab outside a session.
func (s stage) run(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), labDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "lab"), args...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// maxLog is how much of each log a failed session shows, in bytes.
const maxLog = 16 << 10

func showLogs(t testing.TB, dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "logs", "*"))
	if err != nil || len(paths) == 0 {
		t.Logf("the lab left no logs: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Logf("%s: %v", path, err)
			continue
		}
		t.Logf("--- the end of %s ---\n%s", path, data[max(0, len(data)-maxLog):])
	}
}

// process is a running process and how it was called.
type process struct {
	pid     int
	command string
}

func (p process) String() string {
	return strconv.Itoa(p.pid) + " " + p.command
}

// processesOf finds the processes that have the lab's directory in their
// command line or environment: its own, and those of its hooks.
func processesOf(dir string) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil || len(command) == 0 {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil {
			environ = nil
		}
		if bytes.Contains(command, []byte(dir)) || bytes.Contains(environ, []byte(dir)) {
			found = append(found, process{pid, strings.ReplaceAll(string(command), "\x00", " ")})
		}
	}
	return found
}
