package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github-runner/lab/charmfile"
)

// buildSelf builds this command, which is as static as the charm's program.
func buildSelf(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "packcharm")
	command := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return binary
}

// buildPebble builds the daemon as the Makefile does.
func buildPebble(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pebble")
	command := exec.Command("go", "build", "-trimpath", "-o", program, pebblePackage)
	command.Dir = filepath.Join("../..", pebbleModule)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return program
}

func TestRunWritesTheSameCharmTwice(t *testing.T) {
	binary, pebble := buildSelf(t), buildPebble(t)
	var packed [2][]byte
	var path string
	for i := range packed {
		output := t.TempDir()
		var stdout bytes.Buffer
		err := run(t.Context(), []string{"--charm", "../..", "--package", "./cmd/packcharm", "--binary", binary, "--pebble", pebble, "--output", output}, &stdout, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		path = strings.TrimSpace(stdout.String())
		if want := filepath.Join(output, "github-runner_"+runtime.GOARCH+".charm"); path != want {
			t.Errorf("run wrote %q, want %q", path, want)
		}
		if packed[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packed[0], packed[1]) {
		t.Error("the second charm differs from the first")
	}
	dir := t.TempDir()
	if err := charmfile.Unpack(path, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"licenses/go/LICENSE", "licenses/go.yaml.in/yaml/v3/LICENSE", "licenses/pebble/github.com/canonical/pebble/COPYING", "version", "hooks/install"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// hookTool stands in for all of Juju's hook tools: an empty configuration, no
// relations or storage, and a record of the statuses set and of what is logged.
const hookTool = `#!/bin/sh
case ${0##*/} in
config-get) echo '{}' ;;
relation-ids | storage-list) echo '[]' ;;
status-set) echo "$*" >>"$STATUSES" ;;
juju-log) echo "$*" >>"$JOURNAL" ;;
esac
`

// The charm's own program, as Juju runs it from the packed charm: nothing is
// configured, so it says what is missing and touches nothing.
func TestTheCharmsOwnHookRunsFromIt(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "github-runner")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "../github-runner")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"--charm", "../..", "--binary", binary, "--pebble", buildPebble(t), "--output", dir}, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	unpacked := filepath.Join(dir, "charm")
	if err := charmfile.Unpack(strings.TrimSpace(stdout.String()), unpacked); err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(dir, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config-get", "relation-ids", "storage-list", "status-set", "juju-log", "application-version-set"} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(hookTool), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	statuses, journal := filepath.Join(dir, "statuses"), filepath.Join(dir, "journal")
	hook := exec.Command(filepath.Join(unpacked, "hooks/config-changed"))
	hook.Dir = unpacked
	hook.Env = []string{
		"PATH=" + tools + ":/usr/bin:/bin", "STATUSES=" + statuses, "JOURNAL=" + journal,
		"CHARM_DIR=" + unpacked, "JUJU_CHARM_DIR=" + unpacked,
		"JUJU_HOOK_NAME=config-changed", "JUJU_DISPATCH_PATH=hooks/config-changed", "JUJU_CONTEXT_ID=github-runner/0-config-changed-1",
		"JUJU_UNIT_NAME=github-runner/0", "JUJU_MODEL_NAME=test", "JUJU_MODEL_UUID=0c5a6f0e-4f0a-4a5f-8d0e-5e5f0c1d2b3a", "JUJU_VERSION=3.6.28",
		"LXD_DIR=" + filepath.Join(dir, "no-lxd"), "GITHUB_RUNNER_ROOT=" + filepath.Join(dir, "root"),
	}
	if output, err := hook.CombinedOutput(); err != nil {
		told, _ := os.ReadFile(journal)
		t.Fatalf("hooks/config-changed: %v\n%s%s", err, output, told)
	}
	content, err := os.ReadFile(statuses)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"blocked", "path is missing", "token is missing"} {
		if !strings.Contains(string(content), want) {
			t.Errorf("the statuses are %q, want one with %q", content, want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "--binary"},
		{[]string{"--binary", "x"}, "--pebble"},
		{[]string{"--binary", "x", "--pebble", "y", "more"}, "nothing beside options"},
		{[]string{"--binary", "no-such-file", "--pebble", "y"}, "no-such-file"},
		{[]string{"--binary", "main.go", "--pebble", "y"}, "main.go"},
	}
	for _, test := range tests {
		if err := run(t.Context(), test.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("packcharm %q: %v, want an error with %q", test.args, err, test.want)
		}
	}
}
