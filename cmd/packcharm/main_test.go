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

func TestRunWritesTheSameCharmTwice(t *testing.T) {
	binary := buildSelf(t)
	var packed [2][]byte
	var path string
	for i := range packed {
		output := t.TempDir()
		var stdout bytes.Buffer
		err := run(t.Context(), []string{"--charm", "../..", "--package", "./cmd/packcharm", "--binary", binary, "--output", output}, &stdout, io.Discard)
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
	for _, name := range []string{"licenses/go/LICENSE", "licenses/go.yaml.in/yaml/v3/LICENSE", "version", "hooks/install"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "--binary"},
		{[]string{"--binary", "x", "more"}, "nothing beside options"},
		{[]string{"--binary", "no-such-file"}, "no-such-file"},
		{[]string{"--binary", "main.go"}, "main.go"},
	}
	for _, test := range tests {
		if err := run(t.Context(), test.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("packcharm %q: %v, want an error with %q", test.args, err, test.want)
		}
	}
}
