package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/lab"
	"github-runner/lab/skip"
)

// TestEmulated runs every benchmark once on the emulation, small. It tests that
// they measure and clean up, and the numbers of calls; it tests no time.
func TestEmulated(t *testing.T) {
	if testing.Short() {
		skip.Because(t, "it builds the charm's and the lab's program, which takes long")
	}
	programs := build(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	report, err := Run(ctx, Options{
		Cloud:    lab.CloudEmulated,
		Dir:      filepath.Join(t.TempDir(), "none"),
		Rounds:   1,
		Sizes:    []int{3},
		Charm:    filepath.Join(programs, "github-runner"),
		Lab:      filepath.Join(programs, "lab"),
		Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var measured []string
	for _, r := range report.Results {
		measured = append(measured, fmt.Sprintf("%s %s: %s", r.Benchmark, r.Case, r.Figure))
		counted := r.Unit == "calls"
		if !counted && r.Charm.Min <= 0 {
			t.Errorf("%s %s: %s is %v %s", r.Benchmark, r.Case, r.Figure, r.Charm.Min, r.Unit)
		}
		if counted && r.Target != nil && !r.Target.Met {
			t.Errorf("%s %s: %s are %v, want at most %v", r.Benchmark, r.Case, r.Figure, r.Charm.Max, r.Target.Most)
		}
	}
	want := []string{
		"containers 3: until all are online at GitHub",
		"containers 3: until the hook is done",
		"containers 3: CPU of the hook",
		"refill 10 jobs emulated: job's end to create call",
		"refill 10 jobs emulated: 95 of 100 within",
		"refill 10 jobs emulated: job's end to next online",
		"refill 10 jobs emulated: 95 of 100 are online within",
		"reconcile 3 emulated: CPU of the hook",
		"reconcile 3 emulated: wall time",
		"reconcile 3 emulated: peak memory",
		"reconcile 3 emulated: calls of GitHub",
		"reconcile 3 emulated: of these not 304",
		"reconcile 3 emulated: calls of LXD",
		"agent 3 emulated: CPU of one look at everything",
		"agent 3 emulated: share of a processor over a day",
		"agent 3 emulated: memory after a day",
		"agent 3 emulated: peak memory",
		"agent 3 emulated: calls of GitHub in a day",
		"agent 3 emulated: of these not 304",
		"update-status 3 emulated: CPU of the hook",
		"update-status 3 emulated: peak memory",
		"update-status 3 emulated: wall time",
		"openstack 3 emulated: until the last server is ordered",
		"openstack 3 emulated: until the hook is done",
		"openstack 3 emulated: CPU of the hook",
		"openstack 3 emulated: wall time",
		"openstack 3 emulated: peak memory",
		"openstack 3 emulated: calls of GitHub",
		"openstack 3 emulated: of these not 304",
		"openstack 3 emulated: calls of OpenStack",
		"openstack 3 emulated: of these tokens",
		"openstack 3 emulated: of these pages of servers",
		"openstack 3 emulated: of these look-ups",
		"openstack 3 emulated: connections by SSH",
	}
	if diff := cmp.Diff(want, measured); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	if skipped := strings.Join(report.Skipped, "\n"); len(report.Skipped) != 2 || !strings.Contains(skipped, "isolation: ") || !strings.Contains(skipped, "images: ") {
		t.Errorf("what can't be measured on the emulation: %q", skipped)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left in the folder for temporary files", entry.Name())
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), os.TempDir()) {
		t.Error("something is left mounted")
	}
}

// build builds what is measured and what the floor is made of.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, step := range [][]string{
		{"go", "build", "-o", dir + "/", "github-runner/cmd/github-runner", "github-runner/cmd/lab"},
		{filepath.Join(dir, "lab"), "pack-application", "--output", dir},
	} {
		cmd := exec.CommandContext(t.Context(), step[0], step[1:]...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(step, " "), err, out)
		}
	}
	return dir
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"unknown benchmark": {Options{Benchmarks: []string{"coffee"}, Rounds: 1}, `"coffee"`},
		"no rounds":         {Options{Rounds: 0}, "0 rounds"},
		"unknown cloud":     {Options{Rounds: 1, Cloud: "mist", Dir: filepath.Join(t.TempDir(), "none"), Progress: t.Output()}, `"mist"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not tell %s", err, test.want)
			}
		})
	}
}

// TestHookFails tests that a hook that does not do its work is no measurement.
func TestHookFails(t *testing.T) {
	for name, test := range map[string]struct{ hook, want string }{
		"blocked":     {"#!/bin/sh\nstatus-set -- blocked 'no image'\njuju-log 'look here'\n", "blocked: no image"},
		"no status":   {"#!/bin/sh\n", "no status"},
		"exit status": {"#!/bin/sh\njuju-log 'look here'\nexit 7\n", "look here"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "github-runner")
			if err := os.WriteFile(program, []byte(test.hook), 0o755); err != nil {
				t.Fatal(err)
			}
			u, err := newUnit(&stage{dir: dir}, program, "bench/9")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.scale(t.Context(), 1); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not tell %q", err, test.want)
			}
		})
	}
}
