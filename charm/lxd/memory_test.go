package lxd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/runner"
	emulation "github-runner/lab/lxd"
	"github-runner/lab/skip"
)

// memoryCloud is an emulated cloud with storage in memory.
func memoryCloud(t *testing.T) (*Cloud, server, *emulation.Control) {
	t.Helper()
	needsMounts(t)
	cloud, server, control := emulatedCloud(t, func(c *Config) {
		c.StorageKind = MemoryStorage
		c.Disk = 10 << 20
	})
	t.Cleanup(func() { unmountMemory(cloud.memoryDir()) })
	return cloud, server, control
}

func TestMemoryIsGivenBack(t *testing.T) {
	cloud, server, control := memoryCloud(t)
	isMemory := func() bool {
		mounted, err := mounts.On(cloud.memoryDir())
		return err == nil && mounted
	}
	if err := cloud.fitMemory(1); err != nil || !isMemory() {
		t.Fatalf("no memory was mounted: %v", err)
	}
	for range 2 {
		if err := cloud.Destroy(t.Context()); err != nil || isMemory() {
			t.Errorf("Destroy left memory without a pool: %v", err)
		}
	}
	fault := emulation.Fault{Kind: emulation.CallFails, Name: "POST /1.0/storage-pools", Message: "no"}
	if _, err := control.AddFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ensurePool(server, 1); err == nil || isMemory() {
		t.Errorf("a pool that could not be made left its memory: %v", err)
	}
	if _, err := control.ClearFaults(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ensurePool(server, 1); err != nil || !isMemory() {
		t.Errorf("the pool in memory: %v", err)
	}
}

func TestMemoryFits(t *testing.T) {
	cloud, server, _ := memoryCloud(t)
	disk := filepath.Join(cloud.memoryDir(), "disk")
	sized := func(when string, count int, want int64) {
		t.Helper()
		if _, err := cloud.ensurePool(server, count); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if got := mountedSpace(t, cloud.memoryDir()).total; got != want {
			t.Errorf("%s the memory has %d bytes, want %d", when, got, want)
		}
	}
	sized("at first", 1, 11<<20)
	if err := os.WriteFile(disk, make([]byte, 9<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sized("for more", 3, 33<<20)
	sized("for fewer", 2, 22<<20)
	stoppedRunner(t, cloud, server)
	stoppedRunner(t, cloud, server)
	sized("for fewer than there are", 1, 22<<20)
	sized("for many", 4, 44<<20)
	if err := os.WriteFile(disk, make([]byte, 40<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sized("full", 1, 44<<20)
	if info, err := os.Stat(disk); err != nil || info.Size() != 40<<20 {
		t.Errorf("a disk in memory was touched: %v, %v", info, err)
	}
}

// What can't be enlarged stays as it is, with all that is on it.
func TestMemoryThatCannotGrow(t *testing.T) {
	cloud, _, _ := memoryCloud(t)
	dir := cloud.memoryDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Not one that has a size.
	if err := unix.Mount("none", dir, "mqueue", 0, ""); err != nil {
		skip.Because(t, "a file system without a size: %v", err)
	}
	disk, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	disk.Close()
	err = cloud.fitMemory(3)
	if !errors.As(err, new(runner.Trouble)) || !strings.Contains(err.Error(), "lower virtual-machines or vm-disk") {
		t.Errorf("growing fails with %v", err)
	}
	if _, err := os.Stat(disk.Name()); err != nil {
		t.Errorf("the content went: %v", err)
	}
}

// Jobs in containers must not be killed for what they write to a disk in memory.
func TestMemoryOfContainersHoldsTheirDisks(t *testing.T) {
	config := testConfig(t)
	limit := func(kind, storage string) string {
		config.InstanceType, config.StorageKind = kind, storage
		cloud, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		return cloud.profile(false).Config["limits.memory"]
	}
	if got := limit(Container, MemoryStorage); got != bytesOf(6<<30) {
		t.Errorf("a container in memory has %s", got)
	}
	for kind, storage := range map[string]string{Container: JujuStorage, VirtualMachine: MemoryStorage} {
		if got := limit(kind, storage); got != bytesOf(1<<30) {
			t.Errorf("%s on %s has %s", kind, storage, got)
		}
	}
}
