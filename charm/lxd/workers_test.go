package lxd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWorkers(t *testing.T) {
	proc := t.TempDir()
	add := func(pid, comm, cgroup string) {
		t.Helper()
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"comm": comm, "cgroup": cgroup} {
			if content == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("1", "systemd\n", "0::/init.scope\n")
	add("20", "Runner.Worker\n", "12:devices:/lxc.payload.app-0-ab12deadbeef/system.slice/github-runner.service\n0::/\n")
	add("21", "Runner.Worker\n", "0::/lxc.payload.app-0-ab12cafecafe/system.slice/github-runner.service\n")
	add("22", "Runner.Worker\n", "0::/lxc.payload.outer/nested/lxc.payload.inner/x\n")
	add("23", "Runner.Listener\n", "0::/lxc.payload.app-0-ab1200000000\n")
	add("24", "Runner.Worker\n", "0::/user.slice/Runner.Worker\n")
	add("25", "Runner.Worker\n", "")
	add("26", "", "0::/lxc.payload.gone\n")
	add("27", "Runner.Worker\n", "0::/lxc.payload.\n0::/xlxc.payload.fake/\n")
	add("net", "Runner.Worker\n", "0::/lxc.payload.net\n")
	wanted := map[string]bool{"app-0-ab12deadbeef": true, "app-0-ab12cafecafe": true, "outer": true}
	found, err := workers(proc)
	if diff := cmp.Diff(wanted, found); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for pid, unreadable := range map[string]string{"30": "comm", "31": "cgroup"} {
		add(pid, "Runner.Worker\n", "")
		path := filepath.Join(proc, pid, unreadable)
		if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		found, err := workers(proc)
		if diff := cmp.Diff(wanted, found); diff != "" || err == nil {
			t.Errorf("%s that can't be read: %v %s", unreadable, err, diff)
		}
		if err := os.RemoveAll(filepath.Join(proc, pid)); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := workers(filepath.Join(proc, "missing")); len(found) != 0 || err == nil {
		t.Errorf("workers of nowhere: %v, %v", found, err)
	}
}
