package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// templateSources are where the versions of the recipes for runners stand, one for each
// cloud.
func templateSources() []string {
	return []string{"../charm/lxd/prepare.go", "../charm/openstack/prepare.go"}
}

// templateVersion is the line that says it.
var templateVersion = regexp.MustCompile(`(?m)^const templateVersion = ([0-9]+)$`)

// nextCharm returns a command that sets $NEXT to the charm as its next release
// might be: built from the same sources, but with a raised template version. It is
// built once for all sessions, into a folder that remove takes away.
func nextCharm() (command func(*testscript.TestScript, bool, []string), remove func() error) {
	var dir string
	build := sync.OnceValue(func() error {
		var err error
		if dir, err = os.MkdirTemp("", "acceptance-next-"); err != nil {
			return err
		}
		return buildNext(dir)
	})
	command = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) > 0 {
			ts.Fatalf("usage: next-charm")
		}
		ts.Check(build())
		ts.Setenv("NEXT", filepath.Join(dir, "github-runner_"+runtime.GOARCH+".charm"))
	}
	return command, func() error { return os.RemoveAll(dir) }
}

// raised returns a source file with a raised template version.
func raised(path string) ([]byte, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	match := templateVersion.FindSubmatch(source)
	if match == nil {
		return nil, fmt.Errorf("%s names no template version", path)
	}
	version, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return nil, err
	}
	return templateVersion.ReplaceAll(source, fmt.Appendf(nil, "const templateVersion = %d", version+1)), nil
}

// writeOverlay writes an overlay over the sources that have template versions.
func writeOverlay(dir string) (path string, err error) {
	replace := make(map[string]string)
	for i, source := range templateSources() {
		next, err := raised(source)
		if err != nil {
			return "", err
		}
		original, err := filepath.Abs(source)
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(dir, fmt.Sprintf("prepare%d.go", i))
		if err := os.WriteFile(replace[original], next, 0o644); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o644)
}

// buildNext builds the next charm by an overlay over the sources.
func buildNext(dir string) error {
	overlay, err := writeOverlay(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildDeadline)
	defer cancel()
	program, pebble := filepath.Join(dir, "github-runner"), filepath.Join(dir, "pebble")
	for _, step := range [][]string{
		{"build", "-overlay", overlay, "-trimpath", "-ldflags", "-X main.version=next", "-o", program, "./cmd/github-runner"},
		{"build", "-C", "tools/pebble", "-trimpath", "-o", pebble, pebblePackage},
		{"run", "./cmd/packcharm", "--binary", program, "--pebble", pebble, "--output", dir},
	} {
		cmd := exec.CommandContext(ctx, "go", step...)
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build the next charm: %w\n%s", err, out)
		}
	}
	return nil
}
