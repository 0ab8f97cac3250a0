package takeover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/secret"
	"github-runner/lab/skip"
)

// machine is a folder that stands for a whole machine.
type machine struct {
	*testing.T
	root     string
	charmDir string
	*world
}

// newMachine is a machine with the remains of unit github-runner/0, and with a
// systemd whose systemctl writes down what it is asked for.
func newMachine(t *testing.T, names ...string) *machine {
	root := t.TempDir()
	m := &machine{T: t, root: root, charmDir: filepath.Join(root, "agents", "unit-github-runner-0", "charm"), world: newWorld(names...)}
	for _, name := range secretFiles {
		m.write(filepath.Join("agents/unit-github-runner-0/charm", name), `{"charm_config": {"path": {"org": "acme"}, "token": "ghp_hunter2"}}`)
	}
	m.write("etc/systemd/system/"+timerUnit, "[Timer]\n")
	m.write("etc/systemd/system/"+timerService, service("github-runner/0"))
	m.write("etc/systemd/system/"+policyUnit, "[Service]\nWorkingDirectory=/home/ubuntu/repo_policy_compliance_service\nExecStart=/usr/bin/gunicorn\n")
	m.write("home/ubuntu/repo_policy_compliance_service/app.py", "")
	m.write("etc/cron.d/build-runner-image", fmt.Sprintf("4 4,10 * * * ubuntu /usr/bin/bash %s/scripts/build-lxd-image.sh '' '' '' jammy\n", m.charmDir))
	m.write("home/ubuntu/github-runner-app", "")
	m.write("home/ubuntu/runner-fs/"+first+"/pre-job-metrics.json", "{}")
	m.write("home/ubuntu/runner-fs-images/"+first+".img", "")
	m.write("home/ubuntu/runner-fs-quarantine/"+second+".tar.gz", "")
	m.write("var/log/github-runner-logs/"+first+"/syslog", "")
	m.write("run/systemd/system/.keep", "")
	m.write("storage/ram/.keep", "")
	m.must(os.Remove(filepath.Join(root, "storage/ram/.keep")))
	m.systemctl("exit 0")
	return m
}

func service(unit string) string {
	return fmt.Sprintf("[Service]\nType=oneshot\nExecStart=/usr/bin/run-one /usr/bin/bash -c '/usr/bin/juju-exec %q \"JUJU_DISPATCH_PATH=reconcile-runners ./dispatch\"'\n", unit)
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *machine) write(name, content string) {
	m.Helper()
	path := filepath.Join(m.root, name)
	m.must(os.MkdirAll(filepath.Dir(path), 0o755))
	m.must(os.WriteFile(path, []byte(content), 0o644))
}

// systemctl puts a program of that name first in PATH.
func (m *machine) systemctl(does string) {
	m.Helper()
	bin := m.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> %s/systemctl.log\n%s\n", m.root, does)
	m.must(os.WriteFile(filepath.Join(bin, "systemctl"), []byte(script), 0o755))
	m.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// asked is what systemctl was called with.
func (m *machine) asked() []string {
	m.Helper()
	content, err := os.ReadFile(filepath.Join(m.root, "systemctl.log"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	m.must(err)
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

// files are all there are below the root.
func (m *machine) files() []string {
	m.Helper()
	var found []string
	m.must(filepath.WalkDir(m.root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() != "systemctl.log" && entry.Name() != ".keep" {
			found = append(found, strings.TrimPrefix(path, m.root+"/"))
		}
		return err
	}))
	slices.Sort(found)
	return found
}

// tidy is one hook's.
func (m *machine) tidy() error {
	var remembered Memory
	if len(m.saved) > 0 {
		remembered = m.saved[len(m.saved)-1]
	}
	if remembered.Path == "" && !remembered.Done {
		var err error
		remembered, err = Recall(nil, m.charmDir)
		m.must(err)
	}
	return m.takeover(func(c *Config) { c.Root, c.CharmDir, c.Memory = m.root, m.charmDir, remembered }).Tidy(m.Context())
}

func (m *machine) expectFiles(want ...string) {
	m.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, m.files()); diff != "" {
		m.Errorf("files (-want +got):\n%s", diff)
	}
}

const logs = "var/log/github-runner-logs/" + first + "/syslog"

func TestTidyInTwoParts(t *testing.T) {
	m := newMachine(t, first)
	m.must(m.tidy())
	if done := m.saved[len(m.saved)-1]; done.Done || done.Path != "acme" || done.Token.Reveal() != "ghp_hunter2" {
		t.Errorf("with a runner left, remembered is %+v", done)
	}
	m.expectFiles(logs,
		"etc/systemd/system/"+policyUnit, "home/ubuntu/repo_policy_compliance_service/app.py", "home/ubuntu/github-runner-app",
		"home/ubuntu/runner-fs-images/"+first+".img", "home/ubuntu/runner-fs/"+first+"/pre-job-metrics.json")
	if diff := cmp.Diff([]string{"disable --now " + timerUnit, "stop " + timerService, "daemon-reload"}, m.asked()); diff != "" {
		t.Errorf("systemctl (-want +got):\n%s", diff)
	}
	if m.setups != 0 || m.ended != nil {
		t.Errorf("with a runner left, %d setups of LXD were removed, and %v ended", m.setups, m.ended)
	}

	delete(m.running, first)
	m.must(m.tidy())
	m.expectFiles(logs)
	if diff := cmp.Diff(Memory{Done: true}, m.saved[len(m.saved)-1]); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"disable --now " + policyUnit, "daemon-reload"}, m.asked()[3:]); diff != "" {
		t.Errorf("systemctl (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{first + " acme {} 1"}, m.ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if m.setups != 1 {
		t.Errorf("the setup of LXD was removed %d times", m.setups)
	}
	if _, err := os.Stat(filepath.Join(m.root, "storage")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of the storage in memory: %v", err)
	}
}

// A unit that never was the Python charm's touches nothing, though the leftovers
// of one that was removed may lie about.
func TestTidyOfAFreshUnit(t *testing.T) {
	m := newMachine(t)
	for _, name := range secretFiles {
		m.must(os.Remove(filepath.Join(m.charmDir, name)))
	}
	before := m.files()
	m.must(m.tidy())
	m.expectFiles(before...)
	if m.setups != 0 || m.asked() != nil {
		t.Errorf("removed %d setups, asked for %v", m.setups, m.asked())
	}
	if !m.saved[len(m.saved)-1].Done {
		t.Error("it will look again at every hook")
	}
}

func TestTidyLeavesWhatOthersUse(t *testing.T) {
	shared := []string{"etc/systemd/system/" + policyUnit, "home/ubuntu/repo_policy_compliance_service/app.py", "home/ubuntu/github-runner-app"}
	timer := []string{"etc/systemd/system/" + timerService, "etc/systemd/system/" + timerUnit}
	for name, test := range map[string]struct {
		change func(*machine)
		stay   []string
		setups int
	}{
		"another unit's state": {func(m *machine) { m.write("agents/unit-other-1/charm/charm_state.json", "{}") },
			append([]string{"agents/unit-other-1/charm/charm_state.json"}, shared...), 0},
		"another unit's runner": {func(m *machine) { m.running[others] = true }, shared, 0},
		"another unit's timer":  {func(m *machine) { m.write("etc/systemd/system/"+timerService, service("github-runner/00")) }, timer, 1},
		"another unit's schedule": {func(m *machine) {
			m.write("etc/cron.d/build-runner-image", "4 4 * * * ubuntu /usr/bin/bash /var/lib/juju/agents/unit-other-1/charm/scripts/build-lxd-image.sh\n")
		}, []string{"etc/cron.d/build-runner-image"}, 1},
		"another unit's metrics": {func(m *machine) { m.write("home/ubuntu/runner-fs/"+others+"/pre-job-metrics.json", "{}") },
			[]string{"home/ubuntu/runner-fs/" + others + "/pre-job-metrics.json"}, 1},
		"a policy service of the operator's": {func(m *machine) {
			m.write("etc/systemd/system/"+policyUnit, "[Service]\nWorkingDirectory=/srv/policy\n")
		}, []string{"etc/systemd/system/" + policyUnit, "home/ubuntu/repo_policy_compliance_service/app.py"}, 1},
		"something in the memory": {func(m *machine) { m.write("storage/ram/precious", "") }, []string{"storage/ram/precious"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			test.change(m)
			m.must(m.tidy())
			m.expectFiles(append([]string{logs}, test.stay...)...)
			if m.setups != test.setups {
				t.Errorf("removed %d setups of LXD, want %d", m.setups, test.setups)
			}
		})
	}
}

func TestTidyWithoutSystemd(t *testing.T) {
	m := newMachine(t)
	m.systemctl("exit 1")
	m.must(os.RemoveAll(filepath.Join(m.root, "run")))
	m.must(m.tidy())
	m.expectFiles(logs)
	if m.asked() != nil {
		t.Errorf("asked for %v", m.asked())
	}
}

// The folder that the memory lay in may be a disk of the operator's.
func TestTidyBesideAMount(t *testing.T) {
	m := newMachine(t)
	storage := filepath.Join(m.root, "storage")
	if err := unix.Mount("test", storage, "tmpfs", 0, "size=1m"); errors.Is(err, fs.ErrPermission) {
		skip.Because(t, "mounting takes root")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(storage, unix.MNT_DETACH) })
	m.must(os.Mkdir(filepath.Join(storage, "ram"), 0o755))
	m.must(m.tidy())
	m.expectFiles(logs)
	if mounted, err := mounts.On(storage); !mounted || err != nil {
		t.Errorf("the operator's mount: %t, %v", mounted, err)
	}
}

// What can't be done now is done by the next hook, and keeps nothing else.
func TestTidyGoesOnAfterAFailure(t *testing.T) {
	m := newMachine(t)
	m.systemctl("echo no >&2; exit 1")
	if err := m.tidy(); err == nil || !strings.Contains(err.Error(), "systemctl disable --now "+timerUnit) || !strings.Contains(err.Error(), policyUnit) {
		t.Errorf("Tidy: %v", err)
	}
	m.expectFiles(logs, "etc/systemd/system/"+timerService, "etc/systemd/system/"+timerUnit,
		"etc/systemd/system/"+policyUnit, "home/ubuntu/repo_policy_compliance_service/app.py")
	// A unit that systemd has forgotten is as good as stopped.
	m.systemctl("exit 5")
	m.must(m.tidy())
	m.expectFiles(logs)
}

func TestSecretsStayUntilTheyAreKept(t *testing.T) {
	m := newMachine(t)
	takeover := m.takeover(func(c *Config) {
		c.Root, c.CharmDir, c.Memory = m.root, m.charmDir, Memory{Found: true}
		c.Save = func(Memory) error { return errors.New("no space left on device") }
	})
	if err := takeover.Tidy(t.Context()); err == nil {
		t.Error("Tidy goes on without a memory")
	}
	for _, name := range secretFiles {
		if !exists(filepath.Join(m.charmDir, name)) {
			t.Errorf("%s is gone", name)
		}
	}
	if m.asked() != nil || m.setups != 0 {
		t.Errorf("asked for %v, removed %d setups", m.asked(), m.setups)
	}
}

func TestRecall(t *testing.T) {
	for name, test := range map[string]struct {
		state string
		want  Memory
		fails bool
	}{
		"a repository":    {`{"charm_config": {"path": {"owner": "acme", "repo": "widgets"}, "token": "ghp_hunter2"}}`, Memory{Found: true, Path: "acme/widgets", Token: secret.Stored{Text: secret.New("ghp_hunter2")}}, false},
		"an organisation": {`{"charm_config": {"path": {"org": "acme", "group": "default"}, "token": "ghp_hunter2"}}`, Memory{Found: true, Path: "acme", Token: secret.Stored{Text: secret.New("ghp_hunter2")}}, false},
		"cut off":         {`{"charm_config": {"path": {"owner": "acme", "repo": "widgets"}, "token": "ghp_hunter2`, Memory{Found: true}, true},
		"empty":           {``, Memory{Found: true}, true},
		"no path":         {`{"charm_config": {"token": "ghp_hunter2"}}`, Memory{Found: true}, true},
		"a wrong path":    {`{"charm_config": {"path": {"org": "../acme?ghp_hunter2"}}}`, Memory{Found: true}, true},
		"a long path":     {`{"charm_config": {"path": {"org": "` + strings.Repeat("a", 202) + `"}}}`, Memory{Found: true}, true},
		"a wrong type":    {`{"charm_config": {"path": "ghp_hunter2"}}`, Memory{Found: true}, true},
		"endless":         {`{"charm_config": {"token": "` + strings.Repeat("x", maxState) + `"}}`, Memory{Found: true}, true},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(test.state), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Recall(nil, dir)
		if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != test.fails {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes a secret: %v", name, err)
		}
	}
}

func TestRecallWhatWasRemembered(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(`{"charm_config": {"path": {"org": "new"}, "token": "ghp_new"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for remembered, want := range map[string]Memory{
		`{"done": true}`: {Done: true},
		`{"found": true, "path": "old", "token": "ghp_old"}`: {Found: true, Path: "old", Token: secret.Stored{Text: secret.New("ghp_old")}},
		`{"found": true}`: {Found: true, Path: "new", Token: secret.Stored{Text: secret.New("ghp_new")}},
	} {
		got, err := Recall([]byte(remembered), dir)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", remembered, err, diff)
		}
	}
	if _, err := Recall([]byte(`{"done": 1}`), dir); err == nil {
		t.Error("a memory that is none is taken")
	}
	if got, err := Recall(nil, t.TempDir()); err != nil || cmp.Diff(Memory{}, got) != "" {
		t.Errorf("a fresh unit: %+v, %v", got, err)
	}
	link := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, stateFile), filepath.Join(link, stateFile)); err != nil {
		t.Fatal(err)
	}
	if got, err := Recall(nil, link); err == nil || got.Path != "" {
		t.Errorf("a link was followed: %+v, %v", got, err)
	}
}
