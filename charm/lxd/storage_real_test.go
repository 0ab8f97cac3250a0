package lxd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/runner"
)

// timedRunner creates a runner, without starting it, and logs how long that took.
func timedRunner(t *testing.T, cloud *Cloud, server server) string {
	t.Helper()
	began := time.Now()
	name := stoppedRunner(t, cloud, server)
	pool, _, err := server.GetStoragePool(cloud.poolName())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("created on %s with driver %s in %v", cloud.poolName(), pool.Driver, time.Since(began).Round(time.Millisecond))
	return name
}

func realServer(t *testing.T, cloud *Cloud) server {
	t.Helper()
	server, cancel, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return server
}

// What the storage holds decides how fast a runner is there, and what it takes.
func TestRealStorageOfEachKind(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, c *Config)
		driver string
	}{
		"attached ext4":       {func(t *testing.T, c *Config) { c.StoragePath = attach(t, 2<<30) }, "btrfs"},
		"attached small ext4": {func(t *testing.T, c *Config) { c.StoragePath, c.Disk = attach(t, 520<<20), 240<<20 }, "dir"},
		"memory":              {func(_ *testing.T, c *Config) { c.StorageKind = MemoryStorage }, "dir"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := realCloud(t, func(c *Config) {
				c.Disk = 400 << 20
				test.change(t, c)
			})
			server := realServer(t, cloud)
			if _, err := cloud.ensurePool(server, 2); err != nil {
				t.Fatal(err)
			}
			timedRunner(t, cloud, server)
			before := mountedSpace(t, cloud.ground().folder)
			second := timedRunner(t, cloud, server)
			after := mountedSpace(t, cloud.ground().folder)
			t.Logf("the second runner took %d MiB", (after.used-before.used)>>20)
			pool, _, err := server.GetStoragePool(cloud.poolName())
			if err != nil || pool.Driver != test.driver {
				t.Errorf("the pool is %+v, %v", pool, err)
			}
			if err := server.power(second, "start"); err != nil {
				t.Fatal(err)
			}
			// Jobs use sudo. It complains while the machine is booting and has no name.
			if out, err := execIn(t, second, "sudo", "-u", "ubuntu", "sudo", "-n", "id", "-u"); err != nil || !slices.Contains(strings.Split(out, "\n"), "0") {
				t.Errorf("sudo in a runner: %q, %v", out, err)
			}
		})
	}
}

// execIn runs a command in a container.
func execIn(t *testing.T, name string, command ...string) (string, error) {
	t.Helper()
	call := exec.CommandContext(t.Context(), "lxc", append([]string{"exec", name, "--"}, command...)...)
	call.Env = append(os.Environ(), "LXD_DIR="+os.Getenv(realDirVariable))
	out, err := call.CombinedOutput()
	return string(out), err
}

// The storage in memory follows the number of runners while one of them works.
func TestRealMemoryGrowsUnderARunner(t *testing.T) {
	cloud := realCloud(t, func(c *Config) {
		c.StorageKind, c.Disk = MemoryStorage, 500<<20
	})
	server := realServer(t, cloud)
	if _, err := cloud.ensurePool(server, 1); err != nil {
		t.Fatal(err)
	}
	name := timedRunner(t, cloud, server)
	if err := server.power(name, "start"); err != nil {
		t.Fatal(err)
	}
	for _, count := range []int{3, 1, 2} {
		if _, err := cloud.ensurePool(server, count); err != nil {
			t.Fatal(err)
		}
		if got, want := mountedSpace(t, cloud.memoryDir()).total, cloud.memoryFor(count); got != want {
			t.Errorf("for %d runners the memory has %d bytes, want %d", count, got, want)
		}
		if out, err := execIn(t, name, "sh", "-c", fmt.Sprintf("echo %d >> /root/log && cat /root/log", count)); err != nil {
			t.Fatalf("the runner lost its disk: %v: %s", err, out)
		}
	}
	// More than its memory without its disk: the kernel counts both.
	if out, err := execIn(t, name, "sh", "-c", "dd if=/dev/zero of=/root/big bs=1M count=600 && rm /root/big"); err != nil {
		t.Errorf("writing 600 MiB to a disk in memory: %v: %s", err, out)
	}
}

// LXD's database outlives a restart of the machine, memory and mounts do not.
func TestRealRestartOfTheMachine(t *testing.T) {
	tests := map[string]func(t *testing.T, c *Config){
		"memory":   func(_ *testing.T, c *Config) { c.StorageKind = MemoryStorage },
		"attached": func(t *testing.T, c *Config) { c.StoragePath = attach(t, 1<<30) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := realCloud(t, func(c *Config) {
				c.Disk = 400 << 20
				change(t, c)
			})
			server := realServer(t, cloud)
			if _, err := cloud.ensurePool(server, 1); err != nil {
				t.Fatal(err)
			}
			dead := stoppedRunner(t, cloud, server)
			ground := cloud.ground()
			made := []string{filepath.Join(os.Getenv(realDirVariable), "storage-pools", cloud.poolName()), ground.base()}
			if name == "memory" {
				made[1] = ground.folder
			}
			for _, mount := range made {
				if err := mounts.Detach(mount); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := cloud.ensurePool(server, 2); err != nil {
				t.Fatalf("the pool is not made anew: %v", err)
			}
			if gone := find(t, cloud, dead); gone.Name != "" {
				t.Errorf("the dead runner is %+v", gone)
			}
			fresh := stoppedRunner(t, cloud, server)
			if err := server.power(fresh, "start"); err != nil {
				t.Errorf("a runner on the new pool: %v", err)
			}
			if mounted, err := mounts.On(made[1]); err != nil || !mounted {
				t.Errorf("the new pool is on the machine's disk: %v", err)
			}
		})
	}
}

// A full storage refuses new runners in words that help, lets old ones go, and is
// as good as new then.
func TestRealFullStorage(t *testing.T) {
	tests := map[string]func(t *testing.T, c *Config){
		"attached ext4":       func(t *testing.T, c *Config) { c.StoragePath = attach(t, 700<<20) },
		"attached small ext4": func(t *testing.T, c *Config) { c.StoragePath, c.Disk = attach(t, 520<<20), 450<<20 },
		"memory":              func(_ *testing.T, c *Config) { c.StorageKind = MemoryStorage },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := realCloud(t, func(c *Config) {
				c.Disk = 500 << 20
				change(t, c)
			})
			server := realServer(t, cloud)
			template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			stoppedRunner(t, cloud, server)
			ballast := filepath.Join(cloud.ground().base(), "ballast")
			fill(t, ballast)

			birth := runner.Birth{Name: cloud.config.Owner.NewName()}
			err = cloud.Create(t.Context(), template, birth)
			var trouble runner.Trouble
			full := errors.As(err, &trouble) && errors.Is(err, runner.ErrQuota) && strings.Contains(trouble.Advice, "is full")
			if !full {
				t.Errorf("create on full storage: %v", err)
			}
			t.Logf("LXD says: %v", err)
			if err := cloud.Delete(t.Context(), birth.Name); err != nil {
				t.Errorf("deleting on full storage: %v", err)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			stoppedRunner(t, cloud, server)
		})
	}
}

// fill takes all that is left on a file system.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, piece := range []int{1 << 20, 4 << 10} {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, piece))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		if err := file.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}
