package juju

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"io"

	"github.com/google/go-cmp/cmp"
)

// hooks are files of one content for each hook.
func hooks(content string, names ...string) probe {
	files := probe{}
	for _, name := range names {
		files["hooks/"+name] = content
	}
	return files
}

const peerMetadata = `name: probe
summary: s
description: d
peers: {ring: {interface: r}}
storage: {data: {type: filesystem, location: /srv, multiple: {range: 0-1}}}
`

var allHooks = []string{"install", "leader-elected", "config-changed", "start", "stop", "remove", "update-status", "upgrade-charm",
	"ring-relation-created", "ring-relation-joined", "ring-relation-departed", "ring-relation-broken", "data-storage-attached", "data-storage-detaching"}

func TestHookOrder(t *testing.T) {
	l := newLab(t)
	files := hooks(everyHook, allHooks...)
	files["metadata.yaml"] = peerMetadata
	files["config.yaml"] = "options: {n: {type: int, default: 1}}\n"
	l.pack("a.charm", files)
	l.juju("deploy", "./a.charm", "--storage", "data=1G")
	l.juju("config", "probe", "n=2")
	l.juju("config", "probe", "n=2")
	l.juju("exec", "--unit", "probe/0", "--", "hooks/update-status")
	l.juju("refresh", "probe", "--path", "./a.charm")
	l.juju("remove-application", "probe", "--no-prompt")
	lines := []string{"data-storage-attached", "install", "ring-relation-created", "leader-elected", "config-changed", "start",
		"config-changed", "", "upgrade-charm", "config-changed",
		"data-storage-detaching", "stop", "remove"}
	want := ""
	for _, line := range lines {
		want += "probe/0 " + line + "\n"
	}
	l.wantNotes("order", want)
	if apps := l.status().Applications; len(apps) != 0 {
		t.Errorf("applications are left: %v", apps)
	}
	for _, path := range []string{"agents", "storage"} {
		left, err := os.ReadDir(filepath.Join(l.dir, "juju", "models", "lab", path))
		if err != nil || len(left) != 0 {
			t.Errorf("%s: %v are left (%v)", path, left, err)
		}
	}
}

func TestUnitWithoutRelationsGetsNoStop(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", hooks(everyHook, "start", "stop", "remove"))
	l.juju("deploy", "./a.charm")
	l.juju("remove-unit", "probe/0")
	l.wantNotes("order", "probe/0 start\n")
}

func TestTwoUnits(t *testing.T) {
	l := newLab(t)
	files := hooks(everyHook, "leader-elected", "ring-relation-joined", "ring-relation-departed", "stop")
	files["metadata.yaml"] = peerMetadata
	l.pack("a.charm", files)
	l.juju("deploy", "./a.charm", "other", "-n", "2")
	l.juju("remove-unit", "other/0")
	l.juju("add-unit", "other")
	app := l.status().Applications["other"]
	if got := slices.Sorted(maps.Keys(app.Units)); !slices.Equal(got, []string{"other/1", "other/2"}) {
		t.Errorf("units are %v: numbers must not be used again", got)
	}
	if !app.Units["other/1"].Leader || app.Units["other/2"].Leader {
		t.Error("other/1 is not the only leader")
	}
	order := l.notes("order")
	for _, want := range []string{"other/0 leader-elected", "other/1 leader-elected", "other/0 ring-relation-joined", "other/1 ring-relation-departed", "other/0 stop"} {
		if !strings.Contains(order, want+"\n") {
			t.Errorf("%q has not run:\n%s", want, order)
		}
	}
}

func TestEnvironment(t *testing.T) {
	l := newLab(t)
	files := hooks("cp /proc/self/environ $OUT/env; readlink /proc/self/fd/0 > $OUT/stdin; pwd > $OUT/pwd; umask > $OUT/umask\n", "config-changed")
	files["actions/look"] = "cp /proc/self/environ $OUT/action-env\n"
	files["actions.yaml"] = "look: {description: d}\n"
	files["config.yaml"] = "options: {n: {type: int, default: 1}}\n"
	l.pack("a.charm", files)
	l.juju("model-config", "juju-http-proxy=http://proxy:3128")
	l.juju("deploy", "./a.charm")
	l.juju("run", "probe/0", "look")
	charm := filepath.Join(l.dir, "juju/models/lab/agents/unit-probe-0/charm")
	common := map[string]string{
		"APT_LISTCHANGES_FRONTEND": "none", "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8", "TERM": "tmux-256color",
		"PATH":      filepath.Join(l.dir, "juju/tools") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"CHARM_DIR": charm, "JUJU_CHARM_DIR": charm, "CLOUD_API_VERSION": "",
		"JUJU_AGENT_SOCKET_ADDRESS": filepath.Join(l.dir, "juju.sock"), "JUJU_AGENT_SOCKET_NETWORK": "unix",
		"JUJU_UNIT_NAME": "probe/0", "JUJU_MODEL_NAME": "lab", "JUJU_API_ADDRESSES": "127.0.0.1:17070", "JUJU_MACHINE_ID": "0",
		"JUJU_PRINCIPAL_UNIT": "", "JUJU_AVAILABILITY_ZONE": "", "JUJU_VERSION": "4.0.15",
		"JUJU_CHARM_HTTP_PROXY": "http://proxy:3128", "JUJU_CHARM_HTTPS_PROXY": "", "JUJU_CHARM_FTP_PROXY": "", "JUJU_CHARM_NO_PROXY": "127.0.0.1,localhost,::1",
		"JUJU_CHARM_TRACE_CONFIG_HTTP": "", "JUJU_CHARM_TRACE_CONFIG_GRPC": "", "JUJU_CHARM_TRACE_CONFIG_CA_CERT": "",
		"LXD_DIR": "/l", "GITHUB_RUNNER_ROOT": "/r",
	}
	tests := []struct {
		file, context string
		more          map[string]string
	}{
		{"env", `^probe/0-config-changed-[0-9a-f]{32}$`, map[string]string{"JUJU_HOOK_NAME": "config-changed", "JUJU_DISPATCH_PATH": "hooks/config-changed"}},
		{"action-env", `^probe/0-look-[0-9a-f]{32}$`, map[string]string{"JUJU_HOOK_NAME": "", "JUJU_DISPATCH_PATH": "actions/look",
			"JUJU_ACTION_NAME": "look", "JUJU_ACTION_UUID": "2", "JUJU_ACTION_TAG": "action-2"}},
	}
	for _, test := range tests {
		want := maps.Clone(common)
		maps.Copy(want, test.more)
		got := map[string]string{}
		for variable := range strings.SplitSeq(strings.TrimRight(l.notes(test.file), "\x00"), "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			got[name] = value
		}
		if !regexp.MustCompile(test.context).MatchString(got["JUJU_CONTEXT_ID"]) {
			t.Errorf("JUJU_CONTEXT_ID is %q", got["JUJU_CONTEXT_ID"])
		}
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4`).MatchString(got["JUJU_MODEL_UUID"]) {
			t.Errorf("JUJU_MODEL_UUID is %q", got["JUJU_MODEL_UUID"])
		}
		// The last three are the shell's own.
		for _, name := range []string{"JUJU_CONTEXT_ID", "JUJU_MODEL_UUID", "PWD", "SHLVL", "_"} {
			delete(got, name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.file, diff)
		}
	}
	l.wantNotes("stdin", "/dev/null\n")
	l.wantNotes("pwd", charm+"\n")
}

func TestErrorAndRetry(t *testing.T) {
	l := newLab(t)
	files := hooks(everyHook+`status-set blocked "on its way"; state-set k=$(cat $OUT/k); [ -e $OUT/ok ]`+"\n", "config-changed")
	files["hooks/start"] = everyHook + "state-get k > $OUT/state\n"
	l.pack("a.charm", files)
	os.WriteFile(filepath.Join(l.charms, "k"), []byte("first"), 0o600)
	l.juju("deploy", "./a.charm")
	l.wantUnit("probe/0", "error", `hook failed: "config-changed"`)
	os.WriteFile(filepath.Join(l.charms, "k"), []byte("second"), 0o600)
	os.WriteFile(filepath.Join(l.charms, "ok"), nil, 0o600)
	l.until(func(s *state) bool { return s.Models["lab"].Applications["probe"].Units[0].Started })
	// The status was set by the hook that failed first, at once.
	l.wantUnit("probe/0", "blocked", "on its way")
	l.wantNotes("state", "second\n")
}

func TestStateOfFailedHookIsLost(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/install": `state-get k > $OUT/state; state-set k=lost; [ -e $OUT/again ] || { touch $OUT/again; exit 1; }` + "\n"})
	l.juju("deploy", "./a.charm")
	l.until(func(s *state) bool { return s.Models["lab"].Applications["probe"].Units[0].Started })
	l.wantNotes("state", "")
}

func TestConfigChangeRetriesAtOnce(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = 1000 * deadline
	files := hooks(`[ "$(config-get --format=json n)" = 2 ]`+"\n", "config-changed")
	files["config.yaml"] = "options: {n: {type: int, default: 1}}\n"
	l.pack("a.charm", files)
	l.juju("deploy", "./a.charm")
	l.wantUnit("probe/0", "error", `hook failed: "config-changed"`)
	l.juju("config", "probe", "n=2")
	if got := l.status().Applications["probe"].Units["probe/0"].Workload.Current; got == "error" {
		t.Error("the unit is still in error")
	}
}

func TestResolved(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = 1000 * deadline
	l.pack("a.charm", probe{"hooks/install": "exit 3\n", "hooks/start": everyHook})
	l.juju("deploy", "./a.charm")
	l.juju("resolved", "probe/0")
	l.wantUnit("probe/0", "error", `hook failed: "install"`)
	l.juju("resolved", "--no-retry", "probe/0")
	l.wantNotes("order", "probe/0 start\n")
}

func TestModelWithoutRetries(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = time.Nanosecond
	l.juju("model-config", "automatically-retry-hooks=false")
	l.pack("a.charm", probe{"hooks/install": everyHook + "exit 3\n"})
	l.juju("deploy", "./a.charm")
	l.juju("resolved", "probe/0")
	l.wantNotes("order", "probe/0 install\nprobe/0 install\n")
}

func TestResolvedDuringTheRetryThatSucceeds(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/start": "[ -e $OUT/again ] || { touch $OUT/again; exit 1; }\nstatus-set maintenance retrying\nuntil [ -e $OUT/go ]; do sleep 0.02; done\n"})
	l.juju("deploy", "--no-wait", "./a.charm")
	l.until(func(s *state) bool {
		return s.Models["lab"].Applications["probe"].Units[0].Status.Message == "retrying"
	})
	l.juju("resolved", "--no-wait", "probe/0")
	if err := os.WriteFile(filepath.Join(l.charms, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// What commands wait for.
	l.until(func(s *state) bool { return l.server.settled(s.Models["lab"].Applications["probe"].Units[0]) })
}

func TestForcedRemoval(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = 1000 * deadline
	l.pack("a.charm", probe{"metadata.yaml": peerMetadata, "hooks/install": "exit 3\n", "hooks/stop": everyHook + "exit 3\n"})
	l.juju("deploy", "./a.charm")
	l.juju("remove-application", "probe")
	l.wantUnit("probe/0", "error", `hook failed: "install"`)
	l.juju("remove-application", "--force", "probe")
	l.wantNotes("order", "probe/0 stop\n")
}

func TestKillHook(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/install": everyHook + `[ -e $OUT/again ] || { touch $OUT/again; status-set maintenance hanging; exec sleep 1000; }` + "\n", "hooks/start": everyHook})
	l.juju("deploy", "--no-wait", "./a.charm")
	l.until(func(s *state) bool { return s.Models["lab"].Applications["probe"].Units[0].Status.Message == "hanging" })
	var killed string
	err := post(t.Context(), SocketPath(l.dir), "/kill-hook?unit=probe/0", nil, func(body io.Reader) error {
		content, err := io.ReadAll(body)
		killed = string(content)
		return err
	})
	if err != nil || !strings.Contains(killed, "probe/0 install") {
		t.Errorf("got %q, %v", killed, err)
	}
	l.until(func(s *state) bool { return s.Models["lab"].Applications["probe"].Units[0].Started })
	l.wantNotes("order", "probe/0 install\nprobe/0 install\nprobe/0 start\n")
	if log := l.juju("debug-log", "--replay"); !strings.Contains(log, `awaiting error resolution for "install" hook`) {
		t.Errorf("the log does not tell of the failed hook:\n%s", log)
	}
}

func TestRestartOfTheModel(t *testing.T) {
	l := newLab(t)
	files := probe{"hooks/config-changed": everyHook + "config-get --format=json >> $OUT/config\n", "hooks/start": everyHook + `[ -e $OUT/ok ] || exit 1` + "\n"}
	files["config.yaml"] = "options: {n: {type: int, default: 1}, f: {type: float, default: 2}, s: {type: string}}\n"
	l.pack("a.charm", files)
	l.juju("deploy", "./a.charm", "--config", "n=9007199254740993")
	l.stop()
	os.WriteFile(filepath.Join(l.charms, "ok"), nil, 0o600)
	l.start()
	l.until(func(s *state) bool { return s.Models["lab"].Applications["probe"].Units[0].Started })
	l.juju("config", "probe", "s=x")
	l.wantNotes("config", `{"f":2,"n":9007199254740993}`+"\n"+`{"f":2,"n":9007199254740993,"s":"x"}`+"\n")
}

func TestOutputOfHooksIsLogged(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/install": "echo out; echo -n err >&2; juju-log -l WARNING -- $'--a\\nb'\n"})
	l.juju("deploy", "./a.charm")
	log := l.juju("debug-log", "--replay", "--include", "probe/0")
	for _, want := range []string{" DEBUG unit.probe/0.install out\n", " WARNING unit.probe/0.install err\n", " WARNING unit.probe/0.juju-log --a\n    b\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if log := l.juju("debug-log", "--replay", "--level", "WARNING"); strings.Contains(log, "DEBUG") || !strings.Contains(log, "    b\n") {
		t.Errorf("filtered by level:\n%s", log)
	}
	if log := l.juju("debug-log", "-n", "1"); strings.Count(log, "unit-probe-0:") != 1 {
		t.Errorf("the last line:\n%s", log)
	}
}

func TestDispatchHidesHooks(t *testing.T) {
	l := newLab(t)
	path := l.pack("a.charm", probe{"hooks/install": everyHook})
	l.juju("deploy", path, "--no-wait", "-n", "0")
	charm := t.TempDir()
	g := &agent{model: newModel("lab"), unit: &unit{Name: "x/0"}}
	l.server.options.Dir = charm
	dir := g.charmDir(l.server)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := g.program(l.server, "hooks/install"); got != "" {
		t.Errorf("got %q for a charm without hooks", got)
	}
	os.WriteFile(filepath.Join(dir, "dispatch"), nil, 0o755)
	if got := g.program(l.server, "hooks/install"); got != filepath.Join(dir, "dispatch") {
		t.Errorf("got %q, want dispatch", got)
	}
	l.server.options.Dir = l.dir
}

func TestUnknownTool(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/install": "credential-get; echo $? > $OUT/code; config-get a b; echo $? >> $OUT/code; status-set error x; echo $? >> $OUT/code; storage-get -s no/0; echo $? >> $OUT/code; secret-get secret:no; echo $? >> $OUT/code\n"})
	l.juju("deploy", "./a.charm")
	l.wantNotes("code", "127\n2\n2\n2\n1\n")
}

func TestToolOutsideOfAHook(t *testing.T) {
	l := newLab(t)
	answer := l.server.runTool(toolRequest{Context: "probe/0-install-0", Tool: "config-get"})
	if answer.Code != 1 || answer.Stderr == "" {
		t.Errorf("got %+v, want a refusal", answer)
	}
}

func TestNoServer(t *testing.T) {
	_, err := Run(t.Context(), t.TempDir(), []string{"status"}, "/", false, io.Discard, io.Discard)
	if err == nil {
		t.Error("no error without a server")
	}
}
