package lxd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github-runner/charm/runner"
)

// What is refused once runners are there has to be refused before any is made.
func TestStorageThatIsTooSmallForCopies(t *testing.T) {
	for name, test := range map[string]struct {
		size, disk int64
		commands   map[string]string // instead of the machine's
		refused    bool
	}{
		"clones":                     {size: 1 << 30, disk: 700 << 20},
		"too small for clones":       {size: 100 << 20, disk: 50 << 20, refused: true},
		"no mkfs.btrfs":              {size: 1 << 30, disk: 700 << 20, commands: map[string]string{}, refused: true},
		"mkfs.btrfs that only fails": {size: 1 << 30, disk: 700 << 20, commands: map[string]string{"mkfs.btrfs": "false", "mount": "true"}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			folder := attach(t, test.size)
			cloud, server, _ := emulatedCloud(t, func(c *Config) { c.StoragePath, c.Disk = folder, test.disk })
			t.Cleanup(func() { removeAll(t, cloud) })
			// What a unit left that was never removed goes, and counts for nothing.
			leave(t, folder, "github-runner.img")
			if test.commands != nil {
				useCommands(t, test.commands)
			}
			for range 2 {
				warnings, err := cloud.ensurePool(server, 2)
				if refused := errors.As(err, new(runner.Trouble)); refused != test.refused || err != nil && !refused {
					t.Errorf("refused: %v, warned with %q", err, warnings)
				}
				if _, _, err := server.GetStoragePool(cloud.poolName()); (err == nil) == test.refused {
					t.Errorf("the pool: %v", err)
				}
			}
		})
	}
}

// The space that a former file takes is there for the next one.
func TestFormerFileIsNoObstacleForClones(t *testing.T) {
	folder := attach(t, 1<<30)
	g := ground{folder}
	file, err := os.Create(g.file())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Fallocate(int(file.Fd()), 0, 0, 700<<20), file.Close()); err != nil {
		t.Fatal(err)
	}
	planned, err := g.plan(true)
	if err != nil || planned.driver != "btrfs" {
		t.Errorf("planned is %+v, %v", planned, err)
	}
	made, err := g.prepare(t.Context(), true, func(err error) { t.Log(err) })
	if err != nil || made != planned.driver {
		t.Errorf("made is %q, %v", made, err)
	}
	if err := g.clear(); err != nil {
		t.Error(err)
	}
}

// useCommands lets only some commands be found, under the names of others.
func useCommands(t *testing.T, commands map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, real := range commands {
		path, err := exec.LookPath(real)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}
