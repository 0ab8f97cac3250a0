package juju

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noteRelation writes down what a relation hook is about.
const noteRelation = `echo "$JUJU_UNIT_NAME ${JUJU_HOOK_NAME#*-relation-} $JUJU_RELATION $JUJU_RELATION_ID unit=$JUJU_REMOTE_UNIT app=$JUJU_REMOTE_APP departing=$JUJU_DEPARTING_UNIT list=$(relation-list --format=json)" >> $OUT/hooks
`

// related are charms for the two sides of a relation: the requirer "web" notes
// its hooks, "db" and "cache" provide and are silent.
func related(l *lab) {
	l.Helper()
	web := hooks(noteRelation, "db-relation-created", "db-relation-joined", "db-relation-changed", "db-relation-departed", "db-relation-broken")
	web["metadata.yaml"] = "name: web\nsummary: s\nrequires:\n  db: {interface: sql, limit: 1, optional: true}\n  other: sql\n  cache: memory\npeers: {ring: {interface: r}}\n"
	web["hooks/start"] = everyHook
	web["hooks/stop"] = everyHook
	l.pack("web.charm", web)
	l.pack("db.charm", probe{"metadata.yaml": "name: db\nsummary: s\nprovides: {server: {interface: sql}}\n", "hooks/stop": everyHook})
	l.pack("cache.charm", probe{"metadata.yaml": "name: cache\nsummary: s\nprovides: {cache: memory, more: memory}\n"})
}

func (l *lab) wantHooks(want ...string) {
	l.Helper()
	got := strings.Split(strings.TrimSuffix(l.notes("hooks"), "\n"), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		l.Errorf("relation hooks (-want +got):\n%s", diff)
	}
	os.Remove(filepath.Join(l.charms, "hooks"))
}

func TestRelationHooks(t *testing.T) {
	l := newLab(t)
	related(l)
	l.juju("deploy", "./web.charm")
	l.juju("deploy", "./db.charm", "-n", "2")
	l.juju("integrate", "web:db", "db")
	l.wantHooks(
		"web/0 created db db:1 unit= app=db departing= list=[]",
		`web/0 joined db db:1 unit=db/0 app=db departing= list=["db/0"]`,
		`web/0 changed db db:1 unit=db/0 app=db departing= list=["db/0"]`,
		`web/0 joined db db:1 unit=db/1 app=db departing= list=["db/0","db/1"]`,
		`web/0 changed db db:1 unit=db/1 app=db departing= list=["db/0","db/1"]`)

	l.juju("exec", "--unit", "db/0", "--", "relation-set -r server:1 host=h1 port=1")
	l.wantHooks(`web/0 changed db db:1 unit=db/0 app=db departing= list=["db/0","db/1"]`)
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r server:1 host=h1")
	l.wantHooks("")
	l.juju("exec", "--unit", "db/0", "--", "relation-set --app -r server:1 name=n")
	l.wantHooks(`web/0 changed db db:1 unit= app=db departing= list=["db/0","db/1"]`)

	l.juju("remove-unit", "db/0")
	l.wantHooks(`web/0 departed db db:1 unit=db/0 app=db departing=db/0 list=["db/1"]`)
	l.juju("add-unit", "web")
	l.wantHooks(
		"web/1 created db db:1 unit= app=db departing= list=[]",
		`web/1 joined db db:1 unit=db/1 app=db departing= list=["db/1"]`,
		`web/1 changed db db:1 unit=db/1 app=db departing= list=["db/1"]`,
		`web/1 changed db db:1 unit= app=db departing= list=["db/1"]`)
	l.juju("remove-unit", "web/1")
	l.wantHooks(
		`web/1 departed db db:1 unit=db/1 app=db departing=web/1 list=[]`,
		`web/1 broken db db:1 unit= app=db departing= list=[]`)

	l.juju("remove-relation", "web", "db")
	l.wantHooks(
		"web/0 departed db db:1 unit=db/1 app=db departing=db/1 list=[]",
		"web/0 broken db db:1 unit= app=db departing= list=[]")
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-ids db --format=json"); got != "[]\n" {
		t.Errorf("relations are left: %s", got)
	}
	l.juju("integrate", "db", "web:db")
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-ids db --format=json"); got != `["db:2"]`+"\n" {
		t.Errorf("the number was used again: %s", got)
	}
}

func TestRelationCreatedComesBeforeStart(t *testing.T) {
	l := newLab(t)
	web := hooks(everyHook, "install", "leader-elected", "start", "db-relation-created", "db-relation-joined", "ring-relation-created")
	web["metadata.yaml"] = "name: web\nsummary: s\nrequires: {db: sql}\npeers: {ring: {interface: r}}\n"
	l.pack("web.charm", web)
	l.pack("db.charm", probe{"metadata.yaml": "name: db\nsummary: s\nprovides: {server: {interface: sql}}\n"})
	l.juju("deploy", "./web.charm", "-n", "0")
	l.juju("deploy", "./db.charm")
	l.juju("integrate", "web", "db")
	l.juju("add-unit", "web")
	want := ""
	for _, hook := range []string{"install", "ring-relation-created", "db-relation-created", "leader-elected", "start", "db-relation-joined"} {
		want += "web/0 " + hook + "\n"
	}
	l.wantNotes("order", want)
}

func TestRemovalOfAnApplicationBreaksItsRelations(t *testing.T) {
	l := newLab(t)
	related(l)
	deploy := func() {
		t.Helper()
		l.juju("deploy", "./web.charm")
		l.juju("deploy", "./db.charm")
		l.juju("integrate", "web:db", "db")
		os.Remove(filepath.Join(l.charms, "hooks"))
		os.Remove(filepath.Join(l.charms, "order"))
	}
	deploy()
	l.juju("remove-application", "db")
	l.wantHooks(
		"web/0 departed db db:1 unit=db/0 app=db departing=db/0 list=[]",
		"web/0 broken db db:1 unit= app=db departing= list=[]")
	l.wantNotes("order", "db/0 stop\n")
	l.juju("remove-application", "web")
	if apps := l.status().Applications; len(apps) != 0 {
		t.Errorf("applications are left: %v", apps)
	}
	deploy()
	l.juju("remove-application", "web")
	l.wantHooks(
		"web/1 departed db db:3 unit=db/1 app=db departing=web/1 list=[]",
		"web/1 broken db db:3 unit= app=db departing= list=[]")
	l.wantNotes("order", "web/1 stop\n")
	l.until(func(s *state) bool { return len(s.Models["lab"].Relations) == 0 })
}

func TestRelationsOutliveTheModelsProcess(t *testing.T) {
	l := newLab(t)
	related(l)
	l.juju("deploy", "./web.charm")
	l.juju("deploy", "./db.charm")
	l.juju("integrate", "web:db", "db")
	os.Remove(filepath.Join(l.charms, "hooks"))
	l.stop()
	l.start()
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r 1 k=v")
	l.wantHooks(`web/0 changed db db:1 unit=db/0 app=db departing= list=["db/0"]`)
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-get -r db:1 k db/0"); got != "v\n" {
		t.Errorf("got %q", got)
	}
}

func TestFailedRelationHookIsRunAgain(t *testing.T) {
	l := newLab(t)
	l.server.options.FirstRetry = 1000 * deadline
	web := hooks(noteRelation+"[ -e $OUT/ok ]\n", "db-relation-changed")
	web["metadata.yaml"] = "name: web\nsummary: s\nrequires: {db: sql}\n"
	l.pack("web.charm", web)
	l.pack("db.charm", probe{"metadata.yaml": "name: db\nsummary: s\nprovides: {server: {interface: sql}}\n"})
	l.juju("deploy", "./web.charm")
	l.juju("deploy", "./db.charm")
	l.juju("integrate", "web", "db")
	l.wantUnit("web/0", "error", `hook failed: "db-relation-changed"`)
	// What comes meanwhile is told afterwards, once.
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r 0 k=1")
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r 0 k=2")
	os.WriteFile(filepath.Join(l.charms, "ok"), nil, 0o600)
	l.juju("resolved", "web/0")
	line := `web/0 changed db db:0 unit=db/0 app=db departing= list=["db/0"]`
	l.wantHooks(line, line, line)

	os.Remove(filepath.Join(l.charms, "ok"))
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r 0 k=3")
	l.juju("resolved", "--no-retry", "web/0")
	l.wantHooks(line)
	if current := l.status().Applications["web"].Units["web/0"].Workload.Current; current == "error" {
		t.Error("a hook that was skipped is run again")
	}
}

func TestRelationTools(t *testing.T) {
	l := newLab(t)
	related(l)
	l.juju("deploy", "./web.charm", "-n", "2")
	l.juju("deploy", "./db.charm")
	l.juju("integrate", "web:db", "db")
	os.WriteFile(filepath.Join(l.charms, "bag.yaml"), []byte("text: |\n  a\n  b'\"\n"), 0o600)
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r server:1 --file "+filepath.Join(l.charms, "bag.yaml")+" k=v gone=x; printf 'gone: \"\"\nread: \"y\"\n' | relation-set -r 1 --file -; relation-get -r 1 k -; relation-get -r 1 - db/0 --format=json > "+filepath.Join(l.charms, "own"))
	if got := l.notes("own"); !strings.Contains(got, `"k":"v"`) || !strings.Contains(got, `"read":"y"`) || strings.Contains(got, "gone") {
		t.Errorf("a unit sees of its own databag: %.300s", got)
	}
	tests := []struct {
		unit, command string
		code          int
		stdout        string
		stderr        string
	}{
		{"web/0", "relation-ids db --format=json", 0, `["db:1"]` + "\n", ""},
		{"web/0", "relation-ids db", 0, "db:1\n", ""},
		{"web/0", "relation-ids ring --format=json", 0, `["ring:0"]` + "\n", ""},
		{"web/0", "relation-ids nope --format=json", 0, "[]\n", ""},
		{"web/0", "relation-ids", 2, "", "ERROR no endpoint name specified\n"},
		{"web/0", "relation-list -r db:1 --format=json", 0, `["db/0"]` + "\n", ""},
		{"web/0", "relation-list -r ring:0 --format=json", 0, `["web/1"]` + "\n", ""},
		{"web/0", "relation-list -r db:1 --app --format=json", 0, `"db"` + "\n", ""},
		{"web/0", "relation-list -r 1 --app", 0, "db\n", ""},
		{"web/0", "relation-list", 2, "", "ERROR no relation id specified\n"},
		{"web/0", "relation-list -r ring:9", 2, "", `ERROR invalid value "ring:9" for option -r: relation not found` + "\n"},
		{"web/0", "relation-list -r x", 2, "", `ERROR invalid value "x" for option -r: invalid relation id` + "\n"},
		{"web/0", "relation-get -r db:1 k db/0", 0, "v\n", ""},
		{"web/0", "relation-get -r db:1 --format=json k db/0", 0, `"v"` + "\n", ""},
		{"web/0", "relation-get -r db:1 --format=json text db/0", 0, `"a\nb'\"\n"` + "\n", ""},
		{"web/0", "relation-get -r db:1 --format=json nope db/0", 0, "null\n", ""},
		{"web/0", "relation-get -r db:1 nope db/0", 0, "", ""},
		{"web/0", "relation-get -r ring:0 --format=json - web/1", 0, `{"egress-subnets":"127.0.0.1/32","ingress-address":"127.0.0.1"}` + "\n", ""},
		{"web/0", "relation-get -r db:1 --format=json --app - db", 0, "{}\n", ""},
		{"web/0", "relation-get -r db:1 --app - db/0 --format=yaml", 0, "{}\n", ""},
		{"web/0", "relation-get -r db:1 --app", 0, "{}\n", ""},
		{"web/0", "relation-get -r ring:9 - db/0", 2, "", `ERROR invalid value "ring:9" for option -r: relation not found` + "\n"},
		{"web/0", "relation-get -r db:1", 2, "", "ERROR no unit id specified\n"},
		{"web/0", "relation-get -r db:1 - db", 2, "", `ERROR invalid value "db": expected a unit name` + "\n"},
		{"web/0", "relation-get -r db:1 - db/7", 1, "", "ERROR permission denied\n"},
		{"web/0", "relation-get -r db:1 - web/1", 1, "", "ERROR permission denied\n"},
		{"web/1", "relation-get -r db:1 --app - web", 1, "", "ERROR permission denied\n"},
		{"web/1", "relation-set -r db:1 --app k=v", 1, "", "ERROR cannot write relation settings: permission denied\n"},
		{"web/1", "relation-set -r db:1 k", 2, "", `ERROR expected "key=value", got "k"` + "\n"},
		{"web/1", "relation-set k=v", 2, "", "ERROR no relation id specified\n"},
		{"web/1", "relation-model-get", 127, "", ""},
	}
	for _, test := range tests {
		stdout, stderr, code := l.try("exec", "--unit", test.unit, "--", test.command)
		if code != test.code || stdout != test.stdout || test.code < 127 && stderr != test.stderr {
			t.Errorf("%s: %s: exit status %d, %q, %q; want %d, %q, %q", test.unit, test.command, code, stdout, stderr, test.code, test.stdout, test.stderr)
		}
	}
}

// A value of any length may come by a file: an argument ends at 128 KiB.
func TestLongRelationData(t *testing.T) {
	l := newLab(t)
	related(l)
	l.juju("deploy", "./web.charm")
	l.juju("deploy", "./db.charm")
	l.juju("integrate", "web:db", "db")
	os.WriteFile(filepath.Join(l.charms, "bag.yaml"), []byte("long: "+strings.Repeat("x", 1<<20)+"\n"), 0o600)
	l.juju("exec", "--unit", "db/0", "--", "relation-set -r server:1 --file "+filepath.Join(l.charms, "bag.yaml"))
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-get -r db:1 long db/0 | wc -c"); got != "1048577\n" {
		t.Errorf("the value has %s", got)
	}
}

func TestRelationDataOfAFailedProcessIsLost(t *testing.T) {
	l := newLab(t)
	related(l)
	l.juju("deploy", "./web.charm")
	l.juju("deploy", "./db.charm")
	l.juju("integrate", "web:db", "db")
	l.try("exec", "--unit", "db/0", "--", "relation-set -r 1 k=v; exit 1")
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-get -r 1 --format=json k db/0"); got != "null\n" {
		t.Errorf("got %q", got)
	}
}

func TestIntegrateRefusals(t *testing.T) {
	l := newLab(t)
	related(l)
	for _, name := range []string{"web", "db", "cache"} {
		l.juju("deploy", "./"+name+".charm")
	}
	tests := []struct {
		want string
		args []string
	}{
		{`application "nope" not found`, []string{"web", "nope"}},
		{`application "web" has no "nope" relation`, []string{"web:nope", "db"}},
		{`invalid endpoint "web:"`, []string{"web:", "db"}},
		{"no relations found", []string{"web:cache", "db"}},
		{"no relations found", []string{"db", "cache"}},
		{"no relations found", []string{"web", "web"}},
		{"no relations found", []string{"web:ring", "web:ring"}},
		{`ambiguous relation: "web db" could refer to "web:db db:server"; "web:other db:server"`, []string{"web", "db"}},
		{`ambiguous relation: "web cache" could refer to "web:cache cache:cache"; "web:cache cache:more"`, []string{"web", "cache"}},
		{"expected two applications", []string{"web"}},
	}
	for _, test := range tests {
		l.refused(test.want, append([]string{"integrate"}, test.args...)...)
	}
	l.juju("integrate", "web:db", "db:server")
	l.refused(`relation web:db db:server already exists`, "integrate", "db", "web:db")
	l.refused(`relation matching "web cache" not found`, "remove-relation", "web", "cache")
	l.refused("relation 0 not found", "remove-relation", "0")
	l.refused("by its number", "remove-relation", "web")
	l.juju("remove-relation", "1")
	l.refused(`relation matching "web:db db" not found`, "remove-relation", "web:db", "db")
}

func TestStoreCharm(t *testing.T) {
	l := newLab(t)
	web := probe{"metadata.yaml": "name: web\nsummary: s\nrequires: {debug-ssh: {interface: debug-ssh}}\n"}
	l.pack("web.charm", web)
	l.juju("deploy", "./web.charm")
	l.juju("deploy", "tmate-ssh-server")
	l.juju("add-unit", "tmate-ssh-server")
	l.juju("integrate", "web:debug-ssh", "tmate-ssh-server")
	for _, name := range []string{"tmate-ssh-server/0", "tmate-ssh-server/1"} {
		l.wantUnit(name, "active", "has no code in this lab")
	}
	l.juju("exec", "--unit", "tmate-ssh-server/1", "--", "relation-set -r $(relation-ids debug-ssh) host=h")
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-get -r 0 host tmate-ssh-server/1"); got != "h\n" {
		t.Errorf("got %q", got)
	}
	table := l.juju("status", "--relations")
	for _, want := range []string{"Integration provider", "\ntmate-ssh-server:debug-ssh  web:debug-ssh  debug-ssh  regular"} {
		if !strings.Contains(table, want) {
			t.Errorf("status lacks %q:\n%s", want, table)
		}
	}
	if table := l.juju("status"); strings.Contains(table, "Integration") {
		t.Errorf("status shows relations unasked:\n%s", table)
	}
	relations := map[string]string{}
	for name, app := range l.status().Applications {
		for endpoint, list := range app.Relations {
			relations[name] = endpoint + " " + list[0].Application
		}
	}
	want := map[string]string{"web": "debug-ssh tmate-ssh-server", "tmate-ssh-server": "debug-ssh web"}
	if !maps.Equal(want, relations) {
		t.Errorf("the relations are %v, want %v", relations, want)
	}
	l.refused(`charm or bundle "nope" not found`, "deploy", "nope")
	l.refused("not a local one", "refresh", "tmate-ssh-server", "--path", "./web.charm")
	l.juju("remove-application", "tmate-ssh-server")
	if got := l.juju("exec", "--unit", "web/0", "--", "relation-ids debug-ssh --format=json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
}
