package charmfile_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func linksIn(t *testing.T, folder string) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
		if target, err := os.Readlink(filepath.Join(root, folder, file.Name())); err != nil || target != "../github-runner" {
			t.Errorf("%s/%s is a link to %q, %v", folder, file.Name(), target, err)
		}
	}
	return names
}

type action struct {
	Description          string
	AdditionalProperties *bool `yaml:"additionalProperties"`
	Params               map[string]struct {
		Type    string
		Enum    []string
		Default string
	}
}

func TestActionsHaveLinksAndRefuseUnknownParameters(t *testing.T) {
	var actions map[string]action
	readYAML(t, "actions.yaml", &actions)
	var names []string
	for name, a := range actions {
		names = append(names, name)
		if a.Description == "" {
			t.Errorf("%s has no description", name)
		}
		if a.AdditionalProperties == nil || *a.AdditionalProperties {
			t.Errorf("%s takes any parameter", name)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, linksIn(t, "actions")); diff != "" {
		t.Errorf("actions.yaml and actions/ differ (-yaml +links):\n%s", diff)
	}
	mode := actions["flush-runners"].Params["mode"]
	if mode.Default != "flush-idle" || !slices.Contains(mode.Enum, mode.Default) || len(mode.Enum) != 5 {
		t.Errorf("flush-runners has mode %+v", mode)
	}
}

type metadata struct {
	Name        string
	Summary     string
	Description string
	Series      []string
	Assumes     []string
	Peers       map[string]struct{ Interface string }
	Provides    map[string]any
	Requires    map[string]any
	Storage     map[string]struct {
		Type     string
		Location string
		Multiple struct{ Range string }
	}
}

// Juju never says that a hook of an unknown relation or storage does not run.
func TestHooksAreOnesThatJujuRuns(t *testing.T) {
	var m metadata
	readYAML(t, "metadata.yaml", &m)
	known := []string{"install", "start", "config-changed", "update-status", "upgrade-charm", "stop", "remove", "leader-elected", "secret-changed"}
	relations := slices.Concat(slices.Collect(maps.Keys(m.Peers)), slices.Collect(maps.Keys(m.Provides)), slices.Collect(maps.Keys(m.Requires)))
	for _, name := range relations {
		for _, event := range []string{"created", "joined", "changed", "departed", "broken"} {
			known = append(known, name+"-relation-"+event)
		}
	}
	for name := range m.Storage {
		known = append(known, name+"-storage-attached", name+"-storage-detaching")
	}
	hooks := linksIn(t, "hooks")
	for _, hook := range hooks {
		if !slices.Contains(known, hook) {
			t.Errorf("hooks/%s never runs", hook)
		}
	}
	for _, hook := range []string{"install", "start", "config-changed", "update-status", "upgrade-charm", "stop", "remove", "secret-changed", "runner-storage-attached", "runner-storage-detaching"} {
		if !slices.Contains(hooks, hook) {
			t.Errorf("hooks/%s is missing", hook)
		}
	}
}

func TestMetadataIsWhatJujuTakes(t *testing.T) {
	var m metadata
	readYAML(t, "metadata.yaml", &m)
	if m.Name != "github-runner" || m.Summary == "" || m.Description == "" {
		t.Error("metadata.yaml has no name, summary or description")
	}
	if len(m.Series) > 0 || !slices.Contains(m.Assumes, "juju >= 3.1") {
		t.Error("metadata.yaml names series, or does not assume juju >= 3.1")
	}
	if len(m.Peers) == 0 {
		t.Error("no peer relation: Juju 4 would run neither stop nor remove")
	}
	storage := m.Storage["runner"]
	if storage.Type != "filesystem" || storage.Location != "/storage/juju" || storage.Multiple.Range != "0-1" {
		t.Errorf("storage runner is %+v", storage)
	}
	for _, name := range []string{"dispatch", "lxd-profile.yaml"} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			t.Errorf("%s exists: Juju would not run hooks/ any more, or change the machine's profile", name)
		}
	}
}

func TestCharmcraftKnowsAllPlatforms(t *testing.T) {
	var charmcraft struct {
		Type      string
		Platforms map[string]any
	}
	readYAML(t, "charmcraft.yaml", &charmcraft)
	want := make(map[string]any)
	for _, channel := range []string{"22.04", "24.04", "26.04"} {
		for _, arch := range []string{"amd64", "arm64"} {
			want["ubuntu@"+channel+":"+arch] = nil
		}
	}
	if diff := cmp.Diff(want, charmcraft.Platforms); diff != "" || charmcraft.Type != "charm" {
		t.Errorf("charmcraft.yaml is of type %q, its platforms differ (-want +got):\n%s", charmcraft.Type, diff)
	}
}
