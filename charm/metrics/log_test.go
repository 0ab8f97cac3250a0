package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github-runner/lab/skip"
)

func lines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestLogIsShared(t *testing.T) {
	root := t.TempDir()
	var group sync.WaitGroup
	const writers, each = 8, 50
	for range writers {
		group.Go(func() {
			log := NewLog(root)
			for range each {
				if err := log.Write(Reconciliation{Flavor: strings.Repeat("f", 900)}, RunnerInstalled{Flavor: "g"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got := lines(t, NewLog(root).Path())
	if len(got) != 2*writers*each {
		t.Errorf("%d lines, want %d", len(got), 2*writers*each)
	}
	for _, line := range got {
		if !json.Valid([]byte(line)) {
			t.Fatalf("mixed line %q", line)
		}
	}
}

func TestLogGoesOnAfterRotation(t *testing.T) {
	log := NewLog(t.TempDir())
	if err := log.Write(Reconciliation{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(log.Path(), log.Path()+".1"); err != nil {
		t.Fatal(err)
	}
	if err := log.Write(Reconciliation{}, Reconciliation{}); err != nil {
		t.Fatal(err)
	}
	if old, fresh := len(lines(t, log.Path()+".1")), len(lines(t, log.Path())); old != 1 || fresh != 2 {
		t.Errorf("%d old and %d new lines, want 1 and 2", old, fresh)
	}
}

func TestLogThatCannotBeWritten(t *testing.T) {
	tests := map[string]func(path string) error{
		"folder":        func(path string) error { return os.Mkdir(path, 0o755) },
		"symbolic link": func(path string) error { return os.Symlink("/dev/null", path) },
		"pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
	}
	for name, place := range tests {
		t.Run(name, func(t *testing.T) {
			log := NewLog(t.TempDir())
			if err := os.MkdirAll(filepath.Dir(log.Path()), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := place(log.Path()); err != nil {
				t.Fatal(err)
			}
			if err := log.Write(Reconciliation{}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestLogrotate(t *testing.T) {
	root := t.TempDir()
	log := NewLog(root)
	if err := log.WriteLogrotate(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, logrotatePath)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, want 0644", before.Mode())
	}
	if err := log.WriteLogrotate(); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the same content was written again")
	}
	want := "\"" + log.Path() + "\" {\n    weekly\n    rotate 1\n    missingok\n    notifempty\n    create\n}\n"
	if err := os.WriteFile(path, []byte("edited by hand"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := log.WriteLogrotate(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v; want the one", len(entries), err)
	}
	for range 2 {
		if err := log.RemoveLogrotate(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogrotateAcceptsTheFile(t *testing.T) {
	skip.Without(t, "logrotate")
	root := t.TempDir()
	log := NewLog(root)
	if err := log.Write(Reconciliation{}); err != nil {
		t.Fatal(err)
	}
	if err := log.WriteLogrotate(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("logrotate", "--force", "--state", filepath.Join(root, "state"), filepath.Join(root, logrotatePath)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(log.Path()); err != nil || info.Size() != 0 {
		t.Errorf("no fresh log after the rotation: %v", err)
	}
}
