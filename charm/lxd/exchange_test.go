package lxd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/lab/skip"
)

// hostileFolder is an exchange folder with everything that a job could put in
// the place of a file.
func hostileFolder(t *testing.T) exchange {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "host-secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := exchange{root: root, name: "runner"}
	for _, dir := range []string{e.path(), filepath.Join(e.path(), cloudinit.PostJobMetricsFile)} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(e.path(), name) }
	for _, err := range []error{
		unix.Mkfifo(at(cloudinit.PreJobMetricsFile), 0o666),
		os.Symlink("../host-secret", at(cloudinit.PreJobDoneFile)),
		os.Symlink("/dev/zero", at("zero")),
		os.WriteFile(at(cloudinit.DiagFile), make([]byte, 10<<20), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestReadRefusesWhatIsNoFile(t *testing.T) {
	e := hostileFolder(t)
	for _, name := range []string{cloudinit.PreJobMetricsFile, cloudinit.PreJobDoneFile, cloudinit.PostJobMetricsFile, cloudinit.DiagFile, "zero", "missing", "../host-secret"} {
		if content, err := e.read(name, maxMetricsFile); err == nil {
			t.Errorf("%s was read: %.20q", name, content)
		}
	}
	if _, err := e.read(cloudinit.DiagFile, maxDiagFile); !errors.Is(err, errTooLarge) {
		t.Errorf("10 MB: %v", err)
	}
	if content, err := e.readEnd(cloudinit.DiagFile, maxDiagFile); err != nil || len(content) != maxDiagFile {
		t.Errorf("the end of 10 MB: %d bytes, %v", len(content), err)
	}
	if _, err := e.readEnd(cloudinit.PreJobMetricsFile, maxDiagFile); err == nil {
		t.Error("the end of a pipe was read")
	}
}

func TestReadTakesWhatFits(t *testing.T) {
	e := hostileFolder(t)
	for size, fits := range map[int]bool{0: true, maxMetricsFile: true, maxMetricsFile + 1: false} {
		if err := os.WriteFile(filepath.Join(e.path(), "file"), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if content, err := e.read("file", maxMetricsFile); (err == nil) != fits || err == nil && len(content) != size {
			t.Errorf("%d bytes: %d, %v", size, len(content), err)
		}
	}
}

func TestListCountsRegularFilesOnly(t *testing.T) {
	e := hostileFolder(t)
	wanted := files{
		cloudinit.PreJobMetricsFile: false, cloudinit.PreJobDoneFile: false, cloudinit.PostJobMetricsFile: false,
		cloudinit.RunCompletedFile: false, cloudinit.DiagFile: true,
	}
	found, err := e.list()
	if diff := cmp.Diff(wanted, found); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if found, err := (exchange{root: e.root, name: "gone"}).list(); len(found) != 0 || err != nil {
		t.Errorf("files of a folder that is gone: %v, %v", found, err)
	}
	if found, err := (exchange{root: e.root, name: "host-secret"}).list(); len(found) != 0 || err == nil {
		t.Errorf("files of a folder that can't be opened: %v, %v", found, err)
	}
}

func TestRemoveTakesEverything(t *testing.T) {
	e := hostileFolder(t)
	for range 2 {
		if err := e.remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(e.path()); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(e.root, "host-secret")); err != nil {
		t.Errorf("what a link pointed to is gone: %v", err)
	}
}

func TestMountedFolderIsBounded(t *testing.T) {
	e := exchange{root: filepath.Join(t.TempDir(), "exchange"), name: "runner"}
	plain, err := e.make()
	if err != nil {
		t.Fatal(err)
	}
	defer e.remove()
	if plain {
		skip.Because(t, "this process may not mount a tmpfs")
	}
	if again, err := e.make(); err != nil || again {
		t.Errorf("making it twice: %v, %v", again, err)
	}
	err = os.WriteFile(filepath.Join(e.path(), "file"), make([]byte, 2<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("2 MB fit into the folder: %v", err)
	}
	if err := e.remove(); err != nil {
		t.Fatal(err)
	}
}

func TestCollectOfAHostileFolder(t *testing.T) {
	config := testConfig(t)
	config.Socket = filepath.Join(t.TempDir(), "no-daemon")
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	name := config.Owner.NewName()
	e := hostileFolder(t)
	if err := os.MkdirAll(config.ExchangeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(e.path(), filepath.Join(config.ExchangeDir, name)); err != nil {
		t.Fatal(err)
	}
	remains, err := cloud.Collect(t.Context(), name, filepath.Join(t.TempDir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(runner.Remains{}, remains); diff != "" {
		t.Error(diff)
	}
}

func TestTail(t *testing.T) {
	text := strings.Repeat("0123456789", 50_000)
	for _, limit := range []int{1, 1000, len(text), len(text) * 2} {
		got, err := tail(strings.NewReader(text), limit)
		if wanted := text[max(0, len(text)-limit):]; err != nil || string(got) != wanted {
			t.Errorf("tail of %d: %d bytes, %v", limit, len(got), err)
		}
	}
}
