package juju

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
)

func TestFromEnvironment(t *testing.T) {
	base := map[string]string{
		"JUJU_UNIT_NAME":          "gh-runner/10",
		"JUJU_MODEL_UUID":         "b8f1",
		"JUJU_MODEL_NAME":         "m",
		"JUJU_CHARM_DIR":          "/c",
		"JUJU_VERSION":            "4.0.15",
		"JUJU_CHARM_HTTP_PROXY":   "http://p:1",
		"JUJU_CHARM_HTTPS_PROXY":  "http://p:2",
		"JUJU_CHARM_NO_PROXY":     "127.0.0.1",
		"JUJU_HOOK_NAME":          "",
		"CLOUD_API_VERSION":       "",
		"JUJU_CHARM_FTP_PROXY":    "",
		"JUJU_PRINCIPAL_UNIT":     "",
		"JUJU_AVAILABILITY_ZONE":  "",
		"JUJU_CHARM_TRACE_CONFIG": "",
	}
	want := Context{
		Unit: "gh-runner/10", App: "gh-runner", ModelUUID: "b8f1", ModelName: "m", CharmDir: "/c", Version: "4.0.15",
		Proxies: Proxies{HTTP: secret.New("http://p:1"), HTTPS: secret.New("http://p:2"), NoProxy: "127.0.0.1"},
	}
	tests := []struct {
		name  string
		env   map[string]string
		argv0 string
		want  func(*Context)
	}{{
		name:  "hook",
		env:   map[string]string{"JUJU_HOOK_NAME": "config-changed", "JUJU_DISPATCH_PATH": "hooks/config-changed"},
		argv0: "/c/hooks/config-changed",
		want:  func(c *Context) { c.Kind, c.Name = KindHook, "config-changed" },
	}, {
		name:  "hook without a dispatch path",
		env:   map[string]string{"JUJU_HOOK_NAME": "start"},
		argv0: "/c/github-runner",
		want:  func(c *Context) { c.Kind, c.Name = KindHook, "start" },
	}, {
		name:  "action",
		env:   map[string]string{"JUJU_DISPATCH_PATH": "actions/check-runners", "JUJU_ACTION_NAME": "check-runners", "JUJU_ACTION_UUID": "7"},
		argv0: "/c/actions/check-runners",
		want:  func(c *Context) { c.Kind, c.Name, c.ActionUUID = KindAction, "check-runners", "7" },
	}, {
		name:  "juju exec of a hook",
		env:   map[string]string{"JUJU_ACTION_NAME": "juju-exec", "JUJU_ACTION_UUID": "8"},
		argv0: "hooks/update-status",
		want:  func(c *Context) { c.Kind, c.Name, c.ActionUUID = KindHook, "update-status", "8" },
	}, {
		name:  "juju exec of something else",
		env:   map[string]string{"JUJU_ACTION_NAME": "juju-exec"},
		argv0: "./github-runner",
		want:  func(c *Context) { c.Kind = KindExec },
	}, {
		name: "relation hook",
		env: map[string]string{"JUJU_DISPATCH_PATH": "hooks/back-relation-departed", "JUJU_RELATION": "back", "JUJU_RELATION_ID": "back:1",
			"JUJU_REMOTE_UNIT": "hk/0", "JUJU_REMOTE_APP": "hk", "JUJU_DEPARTING_UNIT": "hk/0"},
		want: func(c *Context) {
			c.Kind, c.Name = KindHook, "back-relation-departed"
			c.Relation = Relation{Endpoint: "back", ID: "back:1", RemoteUnit: "hk/0", RemoteApp: "hk", DepartingUnit: "hk/0"}
		},
	}, {
		name: "storage hook",
		env: map[string]string{"JUJU_DISPATCH_PATH": "hooks/runner-storage-attached", "JUJU_STORAGE_ID": "runner/0",
			"JUJU_STORAGE_LOCATION": "/storage/juju", "JUJU_STORAGE_KIND": "filesystem"},
		want: func(c *Context) {
			c.Kind, c.Name = KindHook, "runner-storage-attached"
			c.Storage = Storage{ID: "runner/0", Name: "runner", Location: "/storage/juju", Kind: "filesystem"}
		},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env := maps.Clone(base)
			maps.Copy(env, test.env)
			got, err := FromEnvironment(func(name string) string { return env[name] }, test.argv0)
			if err != nil {
				t.Fatal(err)
			}
			want := want
			test.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFromEnvironmentRefuses(t *testing.T) {
	tests := map[string]map[string]string{
		"JUJU_UNIT_NAME is not set":  {"JUJU_MODEL_UUID": "b8f1"},
		`"app"`:                      {"JUJU_UNIT_NAME": "app", "JUJU_MODEL_UUID": "b8f1"},
		`"app/x"`:                    {"JUJU_UNIT_NAME": "app/x", "JUJU_MODEL_UUID": "b8f1"},
		`"app/../0"`:                 {"JUJU_UNIT_NAME": "app/../0", "JUJU_MODEL_UUID": "b8f1"},
		"JUJU_MODEL_UUID is not set": {"JUJU_UNIT_NAME": "app/0"},
	}
	for want, env := range tests {
		_, err := FromEnvironment(func(name string) string { return env[name] }, "hooks/install")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want an error with %s", env, err, want)
		}
	}
}
