package juju

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const typedOptions = `options:
  word: {type: string, default: hello, description: d}
  none: {type: string}
  num: {type: int, default: 3}
  flt: {type: float, default: 1.5}
  flag: {type: boolean, default: false}
  key: {type: secret}
  github-url: {type: string, default: https://github.com}
`

func TestConfig(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{
		"config.yaml":          typedOptions,
		"hooks/config-changed": "config-get --format=json >> $OUT/config\n",
		"hooks/update-status":  "config-get --all --format=json > $OUT/all; { config-get word; config-get none; config-get num --format=json; config-get no --format=json; } > $OUT/single; grep github $JUJU_CHARM_DIR/config.yaml -A3 > $OUT/yaml\n",
	})
	os.WriteFile(filepath.Join(l.charms, "long"), []byte("a\nb"), 0o600)
	l.juju("deploy", "./a.charm", "--config", "num=4", "--config", "word=@long")
	l.juju("config", "probe", "flag=true", "flt=2", "num=-7", "word=", "none=x=y")
	l.juju("config", "probe", "--reset", "word,num,none,github-url")
	want := `{"flag":false,"flt":1.5,"github-url":"http://github.lab","num":4,"word":"a\nb"}
{"flag":true,"flt":2,"github-url":"http://github.lab","none":"x=y","num":-7,"word":""}
{"flag":true,"flt":2,"github-url":"http://github.lab","num":3,"word":"hello"}
`
	l.wantNotes("config", want)
	l.juju("exec", "--unit", "probe/0", "--", "hooks/update-status")
	l.wantNotes("all", `{"flag":true,"flt":2,"github-url":"http://github.lab","key":null,"none":null,"num":3,"word":"hello"}`+"\n")
	l.wantNotes("single", "hello\n3\nnull\n")
	if got := l.notes("yaml"); !strings.Contains(got, "http://github.lab") {
		t.Errorf("the unpacked config.yaml has:\n%s", got)
	}
	if got := l.juju("config", "probe", "word"); got != "hello\n" {
		t.Errorf("config probe word: %q", got)
	}
	var shown struct {
		Settings map[string]map[string]any `json:"settings"`
	}
	if err := json.Unmarshal([]byte(l.juju("config", "probe", "--format", "json")), &shown); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"type": "boolean", "description": "", "default": false, "source": "user", "value": true}, shown.Settings["flag"]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConfigRefusals(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"config.yaml": typedOptions, "hooks/config-changed": everyHook})
	l.juju("deploy", "./a.charm")
	tests := map[string]string{
		"num=x": `option "num" expected int, got "x"`, "num=1.5": `option "num" expected int`, "num=": `option "num" expected int`,
		"num=99999999999999999999": `option "num" expected int`, "flag=maybe": `option "flag" expected boolean, got "maybe"`,
		"flt=many": `option "flt" expected float`, "key=plain": `option "key" expected a secret URI`,
		"nope=1": `unknown option "nope"`, "word=@missing": `option "word"`, "=x": "expected",
	}
	for arg, want := range tests {
		l.refused(want, "config", "probe", "word=changed", arg)
		l.refused(want, "deploy", "./a.charm", "second", "--config", arg)
	}
	l.refused(`unknown option "nope"`, "config", "probe", "--reset", "nope")
	l.refused(`"nope" not found`, "config", "probe", "nope")
	l.refused(`application "other" not found`, "config", "other")
	if got := l.juju("config", "probe", "word"); got != "hello\n" {
		t.Errorf("a refused command set the option: %q", got)
	}
	l.wantNotes("order", "probe/0 config-changed\n")
}

func TestSettingsFile(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"config.yaml": typedOptions})
	os.WriteFile(filepath.Join(l.charms, "s.yaml"), []byte("probe: {num: 8, flag: true}\n"), 0o600)
	os.WriteFile(filepath.Join(l.charms, "bad.yaml"), []byte("probe: {num: eight}\n"), 0o600)
	l.juju("deploy", "./a.charm", "--config", "s.yaml")
	if got := l.juju("config", "probe", "num"); got != "8\n" {
		t.Errorf("num is %q", got)
	}
	l.refused(`option "num" expected int`, "config", "probe", "--file", "bad.yaml")
	l.refused(`no settings found for "another"`, "deploy", "./a.charm", "another", "--config", "s.yaml")
}

func TestDeployRefusals(t *testing.T) {
	l := newLab(t)
	l.pack("good.charm", probe{"metadata.yaml": peerMetadata})
	l.pack("nobase.charm", probe{"manifest.yaml": "bases: []\n"})
	l.pack("noname.charm", probe{"metadata.yaml": "summary: s\n"})
	l.pack("badconfig.charm", probe{"config.yaml": "options: {n: {type: int, default: x}}\n"})
	os.WriteFile(filepath.Join(l.charms, "nozip.charm"), []byte("no zip"), 0o600)
	tests := []struct {
		want string
		args []string
	}{
		{"no charm was found", []string{"./missing.charm"}},
		{"directory not supported", []string{"."}},
		{"without bases", []string{"./nobase.charm"}},
		{"name and summary", []string{"./noname.charm"}},
		{`option "n" expected int`, []string{"./badconfig.charm"}},
		{"zip", []string{"./nozip.charm"}},
		{`base "ubuntu@20.04" is not supported`, []string{"./good.charm", "--base", "ubuntu@20.04"}},
		{`invalid application name "Bad_name"`, []string{"./good.charm", "Bad_name"}},
		{`no store called "disk"`, []string{"./good.charm", "--storage", "disk=1G"}},
		{`2 instances requested`, []string{"./good.charm", "--storage", "data=1G,2"}},
		{"expected a .charm file", nil},
		{"not defined: -frob", []string{"./good.charm", "--frob"}},
	}
	for _, test := range tests {
		l.refused(test.want, append([]string{"deploy"}, test.args...)...)
	}
	l.juju("deploy", "./good.charm")
	l.refused("already exists", "deploy", "./good.charm")
	l.refused(`"frob" is not a command`, "frob")
}

const actionFiles = `
good:
  params: {tool: {type: string, enum: [abc, def], default: abc}, count: {type: integer, default: 3}}
open: {additionalProperties: true, params: {deep: {type: object}}, required: [deep]}
fails: {}
breaks: {}
missing: {}
`

func actionCharm() probe {
	return probe{
		"actions.yaml":   actionFiles,
		"actions/good":   "action-get --format=json > $OUT/params; action-log 'step one'; action-set out.a=1 out.b=x=y text=$'line1\\nline2'; echo printed; echo problem >&2\n",
		"actions/open":   "action-get --format=json > $OUT/params\n",
		"actions/fails":  "action-set done=half; action-fail 'told to fail'\n",
		"actions/breaks": "action-set done=half; status-set active kept; state-set k=lost; exit 3\n",
	}
}

// resultOf runs an action and returns what 'juju run --format json' says of it.
func (l *lab) resultOf(wantCode int, args ...string) map[string]any {
	l.Helper()
	stdout, stderr, code := l.try(append([]string{"run", "--format", "json"}, args...)...)
	if code != wantCode {
		l.Errorf("juju run %q: exit status %d, want %d\n%s", args, code, wantCode, stderr)
	}
	var all map[string]map[string]any
	if err := json.Unmarshal([]byte(stdout), &all); err != nil {
		l.Fatalf("%v: %q %s", err, stdout, stderr)
	}
	return all["probe/0"]
}

func TestActions(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", actionCharm())
	l.juju("deploy", "./a.charm")

	got := l.resultOf(0, "probe/0", "good", "count=5")
	want := map[string]any{"out": map[string]any{"a": "1", "b": "x=y"}, "text": "line1\nline2", "return-code": 0.0, "stdout": "printed\n", "stderr": "problem\n"}
	if diff := cmp.Diff(want, got["results"]); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if got["status"] != "completed" || got["id"] != "2" || got["unit"] != "probe/0" {
		t.Errorf("got %v", got)
	}
	if log, _ := got["log"].([]any); len(log) != 1 || !strings.HasSuffix(log[0].(string), " step one") {
		t.Errorf("log is %v", got["log"])
	}
	l.wantNotes("params", `{"count":5,"tool":"abc"}`+"\n")

	got = l.resultOf(0, "probe/leader", "open", "deep.a.b=1", "deep.c=text", "more=true")
	l.wantNotes("params", `{"deep":{"a":{"b":1},"c":"text"},"more":true}`+"\n")
	if got["status"] != "completed" {
		t.Errorf("got %v", got)
	}

	got = l.resultOf(0, "probe/0", "fails")
	if got["status"] != "failed" || got["message"] != "told to fail" || !cmp.Equal(got["results"], map[string]any{"done": "half", "return-code": 0.0}) {
		t.Errorf("a declared failure: %v", got)
	}

	got = l.resultOf(1, "probe/0", "breaks")
	if got["status"] != "failed" || got["message"] != "exit status 3" || !cmp.Equal(got["results"], map[string]any{"done": "half", "return-code": 3.0}) {
		t.Errorf("an exit status: %v", got)
	}
	l.wantUnit("probe/0", "active", "kept")
	if got := l.juju("exec", "--unit", "probe/0", "state-get k"); got != "" {
		t.Errorf("state of a failed action was kept: %q", got)
	}

	if got = l.resultOf(1, "probe/0", "missing"); got["status"] != "failed" {
		t.Errorf("a declared action without a program: %v", got)
	}
}

func TestActionParametersAreChecked(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", actionCharm())
	l.juju("deploy", "./a.charm")
	for _, args := range [][]string{{"good", "tool=xyz"}, {"good", "count=many"}, {"good", "count=1.5"}, {"good", "more=1"}, {"open"}, {"open", "deep=flat"}} {
		got := l.resultOf(1, append([]string{"probe/0"}, args...)...)
		if message, _ := got["message"].(string); got["status"] != "error" || !strings.Contains(message, "validation failed") {
			t.Errorf("%q: %v", args, got)
		}
	}
	l.wantNotes("params", "")
	l.refused(`"nope" not defined`, "run", "probe/0", "nope")
	l.refused(`unit "probe/7" not found`, "run", "probe/7", "good")
	l.refused("no unit specified", "run", "good")
	l.refused("no action specified", "run", "probe/0")
	l.refused("key.key.key=value", "run", "probe/0", "good", "count")
}

func TestRunPlain(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", actionCharm())
	l.juju("deploy", "./a.charm", "-n", "2")
	stdout, stderr, _ := l.try("run", "probe/0", "good")
	if want := "printed\nout:\n  a: \"1\"\n  b: x=y\ntext: |-\n  line1\n  line2\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	for _, want := range []string{"Running operation 1 with 1 task\n  - task 2 on unit-probe-0\n", "Waiting for task 2...\n", " step one\n", "problem\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	stdout, stderr, code := l.try("run", "probe/0", "breaks")
	if code != 1 || !strings.Contains(stdout, "failed: exit status 3") || !strings.Contains(stderr, "with return code 3") {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	if stdout = l.juju("run", "probe/0", "probe/1", "good"); !strings.Contains(stdout, "probe/0:\n") || !strings.Contains(stdout, "probe/1:\n") {
		t.Errorf("two units: %s", stdout)
	}
}

func TestActionInErrorState(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = 1000 * deadline
	files := actionCharm()
	files["hooks/start"] = "exit 1\n"
	l.pack("a.charm", files)
	l.juju("deploy", "./a.charm")
	if got := l.resultOf(0, "probe/0", "good"); got["status"] != "completed" {
		t.Errorf("got %v", got)
	}
	l.wantUnit("probe/0", "error", `hook failed: "start"`)
}

func TestExec(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{})
	l.juju("deploy", "./a.charm")
	if got := l.juju("exec", "--unit", "probe/0", "--", `echo "$JUJU_ACTION_NAME,$JUJU_DISPATCH_PATH,$JUJU_HOOK_NAME"; status-set active x`); got != "juju-exec,,\n" {
		t.Errorf("got %q", got)
	}
	l.wantUnit("probe/0", "active", "x")
	stdout, stderr, code := l.try("exec", "--all", "echo out; echo err >&2; exit 4")
	if code != 4 || stdout != "out\n" || stderr != "err\n" {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	l.refused("must specify a target", "exec", "true")
}

func TestSecrets(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{
		"config.yaml":          typedOptions,
		"hooks/config-changed": "secret-get $(config-get key) --format=json >> $OUT/secret 2>&1; echo $? >> $OUT/secret\n",
		"hooks/secret-changed": `secret-get $JUJU_SECRET_ID token >> $OUT/secret; secret-get $JUJU_SECRET_ID token --peek >> $OUT/secret; secret-get $JUJU_SECRET_ID --refresh --format=json >> $OUT/secret; secret-get $JUJU_SECRET_ID token >> $OUT/secret; env | grep ^JUJU_SECRET >> $OUT/secret` + "\n",
	})
	os.WriteFile(filepath.Join(l.charms, "token"), []byte("one"), 0o600)
	uri := strings.TrimSpace(l.juju("add-secret", "gh", "token#file=token", "user=bob"))
	l.juju("deploy", "./a.charm", "--config", "key="+uri)
	l.wantNotes("secret", "ERROR permission denied\n1\n")
	os.Remove(filepath.Join(l.charms, "secret"))
	l.juju("grant-secret", "gh", "probe")
	l.juju("config", "probe", "num=4")
	l.wantNotes("secret", `{"token":"one","user":"bob"}`+"\n0\n")
	os.Remove(filepath.Join(l.charms, "secret"))
	l.juju("update-secret", "gh", "token=two")
	l.wantNotes("secret", "one\ntwo\n"+`{"token":"two"}`+"\ntwo\nJUJU_SECRET_ID="+uri+"\nJUJU_SECRET_LABEL=\n")
	l.refused(`key "a" not valid`, "add-secret", "other", "a=b")
	l.refused("already exists", "add-secret", "gh", "token=x")
	l.refused(`application "nope" not found`, "grant-secret", "gh", "nope")
	info, err := os.Stat(filepath.Join(l.dir, "juju", "state.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the secrets has mode %v (%v)", info.Mode(), err)
	}
}

func TestTwoModels(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/update-status": "echo $JUJU_MODEL_NAME $JUJU_MODEL_UUID $JUJU_CHARM_HTTP_PROXY $PWD\n"})
	l.juju("deploy", "./a.charm")
	l.juju("add-model", "two")
	l.juju("model-config", "juju-http-proxy=http://two:1")
	l.juju("deploy", "./a.charm")
	first := strings.Fields(l.juju("exec", "-m", "lab", "--unit", "probe/0", "--", "hooks/update-status"))
	second := strings.Fields(l.juju("exec", "--unit", "probe/0", "--", "hooks/update-status"))
	if first[0] != "lab" || second[0] != "two" || first[1] == second[1] || second[2] != "http://two:1" || first[2] == second[3] {
		t.Errorf("got %q and %q", first, second)
	}
	l.refused("it has applications", "destroy-model", "two")
	l.juju("remove-application", "probe")
	if got := l.juju("status"); !strings.Contains(got, `"admin/two" is empty`) {
		t.Errorf("status: %s", got)
	}
	if got := len(l.status("-m", "lab").Applications); got != 1 {
		t.Errorf("the other model has %d applications", got)
	}
	l.juju("destroy-model", "two", "--no-prompt")
	l.refused(`model "two" not found`, "status", "-m", "two")
	l.refused("already exists", "add-model", "lab")
	l.refused("not a valid name", "add-model", "../x")
	l.refused("not found", "model-config", "frob=1")
	l.refused(`expected bool, got string("maybe")`, "model-config", "automatically-retry-hooks=maybe")
}

func TestUpdateStatusInterval(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/update-status": "status-set active updated\n"})
	l.juju("deploy", "./a.charm")
	l.juju("model-config", "update-status-hook-interval=10ms")
	l.until(func(s *state) bool { return s.Models["lab"].Applications["probe"].Units[0].Status.Message == "updated" })
}

func TestRefresh(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/install": everyHook, "hooks/stale": "", "config.yaml": typedOptions})
	l.pack("b.charm", probe{"hooks/upgrade-charm": everyHook + "ls hooks >> $OUT/order\n", "config.yaml": "options: {num: {type: int, default: 9}, new: {type: int, default: 1}}\n"})
	l.pack("c.charm", probe{"metadata.yaml": "name: other\nsummary: s\n"})
	l.juju("deploy", "./a.charm", "--config", "word=x", "--config", "num=5")
	l.juju("refresh", "probe", "--path", "./b.charm")
	l.wantNotes("order", "probe/0 install\nprobe/0 upgrade-charm\nupgrade-charm\n")
	if got := l.juju("config", "probe", "num"); got != "5\n" {
		t.Errorf("num is %q after the refresh", got)
	}
	l.refused(`"word" not found`, "config", "probe", "word")
	l.refused(`the charm's name is "other"`, "refresh", "probe", "--path", "./c.charm")
	l.refused("--path", "refresh", "probe")
}

func TestRefreshHealsAFailedHook(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = 1000 * deadline
	l.pack("a.charm", probe{"hooks/install": "exit 1\n"})
	l.pack("b.charm", probe{"hooks/install": everyHook})
	l.juju("deploy", "./a.charm")
	l.juju("refresh", "probe", "--path", "./b.charm")
	l.wantNotes("order", "probe/0 install\n")
}

func TestStatusTable(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{"hooks/start": "application-version-set 1.2; status-set waiting 'for it'\n"})
	l.juju("deploy", "./a.charm", "-n", "2")
	table := l.juju("status")
	for _, want := range []string{"Model  Controller  Cloud/Region  Version", "\nApp    Version  Status   Scale", "\nprobe  1.2      waiting  2      probe", "\nprobe/0*  waiting   idle   0", "\nprobe/1   waiting   idle   0", "for it\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("status lacks %q:\n%s", want, table)
		}
	}
	if one := l.status("probe/1").Applications["probe"].Units; len(one) != 1 {
		t.Errorf("status of one unit has %d", len(one))
	}
	l.refused("unknown format", "status", "--format", "xml")
}
