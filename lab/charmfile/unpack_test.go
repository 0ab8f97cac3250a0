package charmfile_test

import (
	"archive/zip"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github-runner/lab/charmfile"
)

func TestAHookRunsFromTheUnpackedCharm(t *testing.T) {
	charm := writeCharm(t, charmfile.Charm{Dir: root, Binary: built, Pebble: built})
	dir := filepath.Join(t.TempDir(), "agents/unit-github-runner-0/charm")
	if err := charmfile.Unpack(charm, dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"hooks/config-changed", "actions/flush-runners"} {
		absolute := filepath.Join(dir, path)
		command := exec.Command(absolute)
		command.Dir = dir
		command.Env = []string{"JUJU_DISPATCH_PATH=" + path}
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, output)
		}
		if want := fmt.Sprintln(absolute, path, dir); string(output) != want {
			t.Errorf("%s was run as %q, want %q", path, output, want)
		}
		if target, err := os.Readlink(absolute); err != nil || target != "../github-runner" {
			t.Errorf("%s is a link to %q, %v", path, target, err)
		}
	}
}

func TestUnpackReplacesAnEarlierCharm(t *testing.T) {
	binary := hookBinary(t, elf.EM_X86_64)
	dir := t.TempDir()
	if err := charmfile.Unpack(writeCharm(t, charmfile.Charm{Dir: root, Binary: binary, Pebble: binary, Version: "1"}), dir); err != nil {
		t.Fatal(err)
	}
	running, err := os.Open(filepath.Join(dir, "version"))
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if err := charmfile.Unpack(writeCharm(t, charmfile.Charm{Dir: root, Binary: binary, Pebble: binary, Version: "2"}), dir); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil || string(content) != "2\n" {
		t.Errorf("the version is %q, %v after an upgrade to 2", content, err)
	}
	old := make([]byte, 8)
	if n, _ := running.Read(old); string(old[:n]) != "1\n" {
		t.Errorf("the open file of the earlier charm reads %q: it was written into", old[:n])
	}
}

type packedFile struct {
	name    string
	mode    fs.FileMode
	content string
}

func writeZip(t *testing.T, files ...packedFile) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostile.charm")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	archive := zip.NewWriter(out)
	for _, file := range files {
		header := &zip.FileHeader{Name: file.name, Method: zip.Deflate}
		header.SetMode(file.mode)
		w, err := archive.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpackRefusesWhatLeadsOut(t *testing.T) {
	tests := []struct {
		name  string
		files []packedFile
	}{
		{"parent", []packedFile{{"../evil", 0o644, "x"}}},
		{"parent inside", []packedFile{{"hooks/../../evil", 0o644, "x"}}},
		{"absolute", []packedFile{{"/tmp/evil", 0o644, "x"}}},
		{"backslash", []packedFile{{`..\evil`, 0o644, "x"}}},
		{"absolute link", []packedFile{{"link", fs.ModeSymlink | 0o777, "/etc"}}},
		{"link to the parent", []packedFile{{"link", fs.ModeSymlink | 0o777, ".."}}},
		{"deep link", []packedFile{{"hooks/link", fs.ModeSymlink | 0o777, "../../evil"}}},
		{"file through links", []packedFile{
			{"a/b/c", fs.ModeSymlink | 0o777, "../.."},
			// By its words d stays inside; by way of the link it does not.
			{"d", fs.ModeSymlink | 0o777, "a/b/c/.."},
			{"d/evil", 0o644, "x"},
		}},
		{"empty link", []packedFile{{"link", fs.ModeSymlink | 0o777, ""}}},
		{"endless link", []packedFile{{"link", fs.ModeSymlink | 0o777, strings.Repeat("a/", 4096)}}},
		{"device", []packedFile{{"null", fs.ModeDevice | fs.ModeCharDevice | 0o666, ""}}},
		{"pipe", []packedFile{{"pipe", fs.ModeNamedPipe | 0o666, ""}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parent := t.TempDir()
			if err := charmfile.Unpack(writeZip(t, test.files...), filepath.Join(parent, "charm")); err == nil {
				t.Error("Unpack takes it")
			}
			if _, err := os.Lstat(filepath.Join(parent, "evil")); err == nil {
				t.Error("a file was written outside")
			}
		})
	}
}

func TestUnpackSetsModes(t *testing.T) {
	dir := t.TempDir()
	charm := writeZip(t,
		packedFile{"hooks/install", 0o644, "x"},
		packedFile{"dispatch", 0o644, "x"},
		packedFile{"secret", 0o600, "x"},
		packedFile{"suid", fs.ModeSetuid | 0o755, "x"})
	if err := charmfile.Unpack(charm, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"hooks/install": 0o744, "dispatch": 0o644, "secret": 0o600, "suid": 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestUnpackRefusesWhatIsNoZip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.charm")
	if err := os.WriteFile(path, []byte("no zip"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := charmfile.Unpack(path, t.TempDir()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Unpack: %v, want an error that names the file", err)
	}
}
