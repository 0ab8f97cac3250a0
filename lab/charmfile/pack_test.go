package charmfile_test

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github-runner/lab/charmfile"
)

const root = "../.."

// built is the program that stands in for the charm's. All tests share it:
// building is what takes the time here.
var built string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "charmfile")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = filepath.Join(dir, "hook")
	command := exec.Command("go", "build", "-trimpath", "-o", built, "./testdata/hook")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// hookBinary returns a copy of the program, with the header of one for another
// machine.
func hookBinary(t *testing.T, machine elf.Machine) string {
	t.Helper()
	content, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	const machineOffset = 18
	binary.LittleEndian.PutUint16(content[machineOffset:], uint16(machine))
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func pack(t *testing.T, charm charmfile.Charm) []byte {
	t.Helper()
	var packed bytes.Buffer
	if err := charmfile.Pack(&packed, charm); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func writeCharm(t *testing.T, charm charmfile.Charm) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.charm")
	if err := os.WriteFile(path, pack(t, charm), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPackIsReproducible(t *testing.T) {
	program := hookBinary(t, elf.EM_X86_64)
	charm := charmfile.Charm{Dir: root, Binary: program, Pebble: program, Version: "1.2.3", Licences: map[string][]byte{"b/x/LICENSE": []byte("b"), "a/COPYING": []byte("a"), "b/LICENSE": nil}}
	first := pack(t, charm)
	later := time.Now().Add(48 * time.Hour)
	if err := os.Chtimes(program, later, later); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, pack(t, charm)) {
		t.Error("the same parts give other bytes the second time")
	}
	charm.Version = "1.2.4"
	if bytes.Equal(first, pack(t, charm)) {
		t.Error("another version gives the same bytes")
	}
}

func TestPackHasWhatJujuWants(t *testing.T) {
	program := hookBinary(t, elf.EM_AARCH64)
	packed := pack(t, charmfile.Charm{Dir: root, Binary: program, Pebble: program, Licences: map[string][]byte{"example.com/m/LICENSE": []byte("free")}})
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	modes := make(map[string]fs.FileMode)
	for _, file := range archive.File {
		names = append(names, file.Name)
		modes[file.Name] = file.Mode()
	}
	if !slices.IsSorted(names) {
		t.Errorf("the entries are not sorted: %q", names)
	}
	want := map[string]fs.FileMode{
		"metadata.yaml": 0o644, "manifest.yaml": 0o644, "config.yaml": 0o644, "actions.yaml": 0o644,
		"LICENSE": 0o644, "NOTICE": 0o644, "icon.svg": 0o644, "version": 0o644,
		"github-runner":                  0o755,
		"pebble":                         0o755,
		"hooks/":                         fs.ModeDir | 0o755,
		"hooks/install":                  fs.ModeSymlink | 0o777,
		"actions/flush-runners":          fs.ModeSymlink | 0o777,
		"licenses/":                      fs.ModeDir | 0o755,
		"licenses/example.com/m/":        fs.ModeDir | 0o755,
		"licenses/example.com/m/LICENSE": 0o644,
	}
	for name, mode := range want {
		if modes[name] != mode {
			t.Errorf("%s has mode %v, want %v", name, modes[name], mode)
		}
	}
	for _, unwanted := range []string{"dispatch", "charmcraft.yaml", "lxd-profile.yaml"} {
		if _, ok := modes[unwanted]; ok {
			t.Errorf("%s is in the charm", unwanted)
		}
	}

	content, err := fs.ReadFile(archive, "manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := yaml.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	var bases []any
	for _, channel := range []string{"22.04", "24.04", "26.04"} {
		bases = append(bases, map[string]any{"name": "ubuntu", "channel": channel, "architectures": []any{"arm64"}})
	}
	if diff := cmp.Diff(map[string]any{"bases": bases}, got); diff != "" {
		t.Errorf("manifest.yaml differs (-want +got):\n%s", diff)
	}
	if version, err := fs.ReadFile(archive, "version"); err != nil || len(bytes.TrimSpace(version)) == 0 {
		t.Errorf("version is %q, %v", version, err)
	}
}

func TestPackRefuses(t *testing.T) {
	program := hookBinary(t, elf.EM_X86_64)
	tests := []struct {
		name   string
		change func(dir string) error
		want   string
	}{
		{"a missing file", func(dir string) error { return os.Remove(filepath.Join(dir, "NOTICE")) }, "NOTICE"},
		{"a script among the hooks", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "hooks/leader-elected"), []byte("#!/bin/sh\n"), 0o755)
		}, "hooks/leader-elected is not a link"},
		{"a link out of the charm", func(dir string) error { return os.Symlink("/bin/true", filepath.Join(dir, "actions/x")) }, "actions/x is not a link"},
		{"no platform of the architecture", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "charmcraft.yaml"), []byte("platforms:\n  ubuntu@24.04:arm64:\n"), 0o644)
		}, "no platform"},
		{"a platform without base", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "charmcraft.yaml"), []byte("platforms:\n  amd64:\n"), 0o644)
		}, `"amd64" is not of the form`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := copyCharm(t)
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			err := charmfile.Pack(new(bytes.Buffer), charmfile.Charm{Dir: dir, Binary: program, Pebble: program})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Pack: %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestPackRefusesAPebbleThatDoesNotRunThere(t *testing.T) {
	program := hookBinary(t, elf.EM_X86_64)
	for pebble, want := range map[string]string{hookBinary(t, elf.EM_AARCH64): "it is for arm64, the charm's binary for amd64", "/no/pebble": "/no/pebble"} {
		err := charmfile.Pack(new(bytes.Buffer), charmfile.Charm{Dir: root, Binary: program, Pebble: pebble})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Pack with %s: %v, want an error with %q", pebble, err, want)
		}
	}
}

func TestArchitectureRefusesOtherBinaries(t *testing.T) {
	if got, err := charmfile.Architecture(hookBinary(t, elf.EM_RISCV)); err == nil {
		t.Errorf("Architecture of a RISC-V binary is %q, want an error", got)
	}
	if _, err := charmfile.Architecture("pack_test.go"); err == nil {
		t.Error("Architecture takes a text file")
	}
	if _, err := charmfile.Architecture("/bin/sh"); err == nil || !strings.Contains(err.Error(), "not static") {
		t.Errorf("Architecture of a dynamic binary: %v", err)
	}
}

// copyCharm copies the charm's own files, for a test to spoil.
func copyCharm(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"metadata.yaml", "config.yaml", "actions.yaml", "charmcraft.yaml", "LICENSE", "NOTICE", "icon.svg"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"hooks", "actions"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
