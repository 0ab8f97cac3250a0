package unitdir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github-runner/lab/skip"
)

func open(t *testing.T) *Dir {
	t.Helper()
	dir, err := Open(t.TempDir(), "github-runner-0-ab12")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpenMakesAPrivateFolder(t *testing.T) {
	root := t.TempDir()
	for range 2 {
		dir, err := Open(root, "github-runner-0-ab12")
		if err != nil {
			t.Fatal(err)
		}
		want := filepath.Join(root, "var/lib/github-runner/github-runner-0-ab12")
		if dir.Path() != want {
			t.Errorf("Path() = %s, want %s", dir.Path(), want)
		}
		info, err := os.Stat(dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v, want 0700", info.Mode())
		}
		if err := os.Chmod(dir.Path(), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindMakesNoFolder(t *testing.T) {
	root := t.TempDir()
	if _, err := Find(root, "github-runner-0-ab12"); !errors.Is(err, ErrRemoved) {
		t.Errorf("Find of a folder that is not there: %v", err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("Find made %v, %v", left, err)
	}
	opened, err := Open(root, "github-runner-0-ab12")
	must(t, err)
	found, err := Find(root, "github-runner-0-ab12")
	if err != nil || found.Path() != opened.Path() {
		t.Errorf("Find: %v, %v, want %s", found, err, opened.Path())
	}
	for prefix, want := range map[string]string{"..": "cannot be the name", "link": "a symbolic link"} {
		must(t, os.Symlink(root, opened.Path("..", "link")))
		if _, err := Find(root, prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%q): %v, want an error with %q", prefix, err, want)
		}
		must(t, os.Remove(opened.Path("..", "link")))
	}
}

func TestOpenRefuses(t *testing.T) {
	const prefix = "github-runner-0-ab12"
	tests := []struct {
		name    string
		prefix  string
		prepare func(t *testing.T, root, path string) string
		want    string
	}{
		{"relative root", prefix, func(*testing.T, string, string) string { return "lab/root" }, "not an absolute path"},
		{"prefix with a slash", "a/b", nil, "cannot be the name"},
		{"parent as prefix", "..", nil, "cannot be the name"},
		{"empty prefix", "", nil, "cannot be the name"},
		{"symbolic link", prefix, func(t *testing.T, root, path string) string {
			must(t, os.Symlink(root, path))
			return root
		}, "a symbolic link"},
		{"file", prefix, func(t *testing.T, root, path string) string {
			must(t, os.WriteFile(path, nil, 0o600))
			return root
		}, "a file"},
		{"foreign owner", prefix, func(t *testing.T, root, path string) string {
			if os.Geteuid() != 0 {
				skip.Because(t, "only root can give a folder away")
			}
			must(t, os.Mkdir(path, 0o700))
			must(t, os.Chown(path, 4242, 4242))
			return root
		}, "belongs to user 4242"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			units := filepath.Join(root, unitsPath)
			must(t, os.MkdirAll(units, 0o755))
			if test.prepare != nil {
				root = test.prepare(t, root, filepath.Join(units, test.prefix))
			}
			_, err := Open(root, test.prefix)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	dir := open(t)
	logs := dir.LogPath("github-runner-0-ab1200000000")
	must(t, os.MkdirAll(logs, 0o700))
	must(t, dir.WriteState(State{}))
	other, err := Open(dir.root, "github-runner-1-ab12")
	must(t, err)
	for range 2 {
		must(t, dir.Remove())
	}
	if _, err := os.Lstat(dir.Path()); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if _, err := os.Stat(other.Path()); err != nil {
		t.Errorf("another unit's folder went with it: %v", err)
	}
	must(t, other.Remove())
	if _, err := os.Lstat(dir.Units()); !os.IsNotExist(err) {
		t.Errorf("the folder of units is still there: %v", err)
	}
	if _, err := os.Stat(logs); err != nil {
		t.Errorf("the logs went with it: %v", err)
	}
}

func TestPruneLogs(t *testing.T) {
	dir := open(t)
	now := time.Now()
	must(t, dir.PruneLogs(now))

	outside := t.TempDir()
	precious := filepath.Join(outside, "precious")
	must(t, os.WriteFile(precious, nil, 0o600))
	ages := map[string]time.Duration{"old": LogRetention + time.Hour, "fresh": LogRetention - time.Hour}
	for name, age := range ages {
		path := dir.LogPath(name)
		must(t, os.MkdirAll(path, 0o700))
		must(t, os.WriteFile(filepath.Join(path, "diag.log"), nil, 0o600))
		must(t, os.Symlink(outside, filepath.Join(path, "link")))
		must(t, os.Chtimes(path, now.Add(-age), now.Add(-age)))
	}

	must(t, dir.PruneLogs(now.Add(-LogRetention)))

	if _, err := os.Stat(filepath.Join(dir.logs(), "old")); !os.IsNotExist(err) {
		t.Errorf("old logs were kept: %v", err)
	}
	for _, kept := range []string{filepath.Join(dir.logs(), "fresh", "diag.log"), precious} {
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("removed too much: %v", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
