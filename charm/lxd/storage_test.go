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

	"github.com/canonical/lxd/shared/api"
	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	emulation "github-runner/lab/lxd"
	"github-runner/lab/skip"
)

// needsMounts skips a test where this process may not mount.
func needsMounts(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip.Because(t, "mounting takes root")
	}
	dir := t.TempDir()
	if err := mountMemory(dir, 1<<20, 0); err != nil {
		skip.Because(t, "%v", err)
	}
	if err := mounts.Detach(dir); err != nil {
		t.Fatal(err)
	}
}

// attach is a file system of its own, as Juju attaches one.
func attach(t *testing.T, size int64) string {
	t.Helper()
	needsMounts(t)
	dir := t.TempDir()
	file, folder := filepath.Join(dir, "disk"), filepath.Join(dir, "juju")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size), os.Mkdir(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F", file}, {"mount", "-o", "loop", file, folder}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			skip.Because(t, "%q: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, 0); err != nil {
			t.Errorf("the storage is in use at the end: %v", err)
			unix.Unmount(folder, unix.MNT_DETACH)
		}
	})
	return folder
}

func mountedSpace(t *testing.T, folder string) space {
	t.Helper()
	found, err := spaceAt(folder)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// makeProfile makes what a profile needs, and the profile.
func makeProfile(t *testing.T, cloud *Cloud, server server) {
	t.Helper()
	if _, _, err := cloud.ensureIsolation(server, true); err != nil {
		t.Fatal(err)
	}
	if err := cloud.ensureProfile(server); err != nil {
		t.Fatal(err)
	}
}

// stoppedRunner makes a runner that has not been started.
func stoppedRunner(t *testing.T, c *Cloud, server server) string {
	t.Helper()
	makeProfile(t, c, server)
	name := c.config.Owner.NewName()
	request := api.InstancesPost{
		Name: name, Type: Container, Source: api.InstanceSource{Type: "image", Alias: "noble"},
		InstancePut: api.InstancePut{
			Profiles: []string{c.profileName(false)},
			Config:   map[string]string{keyModel: c.config.Owner.ModelUUID, keyUnit: c.config.Owner.Unit},
		},
	}
	if err := server.change("POST", "/instances", request, ""); err != nil {
		t.Fatal(err)
	}
	return name
}

func instancesOn(t *testing.T, server server) []string {
	t.Helper()
	all, err := server.all()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, instance := range all {
		names = append(names, instance.Name)
	}
	return names
}

func TestStorageThatIsTooSmall(t *testing.T) {
	const huge = 1 << 50
	dir := t.TempDir()
	total := mountedSpace(t, dir).total
	tests := []struct {
		name          string
		change        func(*Config)
		driver        string // of a pool that exists
		refused, told string
	}{
		{"memory", func(c *Config) { c.StorageKind, c.Disk = MemoryStorage, huge }, "", "MiB of memory: lower virtual-machines or vm-disk", ""},
		{"no memory left for jobs", func(c *Config) { c.StorageKind, c.Memory = MemoryStorage, huge }, "", "", "vm-memory"},
		{"attached", func(c *Config) { c.StoragePath, c.Disk = dir, huge }, "", "or attach a larger storage", ""},
		{"attached, each fits, clones", func(c *Config) { c.StoragePath, c.Disk = dir, total }, "btrfs", "", "will find no space"},
		{"attached, each fits, copies", func(c *Config) { c.StoragePath, c.Disk = dir, total }, "dir", "3 runners with disks of", ""},
		{"attached, all fit", func(c *Config) { c.StoragePath, c.Disk = dir, total/3 }, "dir", "", ""},
		{"shared", func(c *Config) { c.Disk = huge }, "", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cloud, server, _ := emulatedCloud(t, test.change)
			var pool *api.StoragePool
			if test.driver != "" {
				pool = &api.StoragePool{Driver: test.driver, Config: map[string]string{"source": dir}}
			}
			warnings, err := cloud.checkSpace(server, 3, pool)
			if got := fmt.Sprint(err); (err != nil) != (test.refused != "") || !strings.Contains(got, test.refused) {
				t.Errorf("refused with %q, want %q", got, test.refused)
			}
			if err != nil && !errors.As(err, new(runner.Trouble)) {
				t.Errorf("no advice in %v", err)
			}
			if got := strings.Join(warnings, "; "); (got != "") != (test.told != "") || !strings.Contains(got, test.told) {
				t.Errorf("warned with %q, want %q", got, test.told)
			}
			if warnings, err := cloud.checkSpace(server, 0, pool); err != nil || warnings != nil {
				t.Errorf("for no runners: %q, %v", warnings, err)
			}
		})
	}
}

func TestStorageThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	leave(t, dir, "file")
	tests := map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"file": {func(*testing.T) string { return file }, "is no folder"},
		"gone": {func(*testing.T) string { return filepath.Join(dir, "gone") }, "is not there"},
		"read-only": {func(t *testing.T) string {
			folder := attach(t, 64<<20)
			if err := unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return folder
		}, "is read-only"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := test.path(t)
			cloud, server, _ := emulatedCloud(t, func(c *Config) { c.StoragePath, c.Disk = path, 1<<20 })
			_, err := cloud.ensurePool(server, 1)
			var trouble runner.Trouble
			if !errors.As(err, &trouble) || !strings.Contains(trouble.Advice, test.want) || !strings.Contains(trouble.Advice, path) {
				t.Errorf("storage at %s: %v, want %q", path, err, test.want)
			}
			if err := cloud.Destroy(t.Context()); name == "read-only" && err != nil {
				t.Errorf("Destroy fails where nothing is to be removed: %v", err)
			}
		})
	}
}

// A new ext4 is not empty: it has lost+found, of which LXD wants to know nothing.
func TestAttachedStorage(t *testing.T) {
	for driver, size := range map[string]int64{"btrfs": 1 << 30, "dir": 200 << 20} {
		t.Run(driver, func(t *testing.T) {
			folder := attach(t, size)
			leave(t, folder, "of-the-operators")
			// What a unit left that was never removed.
			leave(t, folder, "github-runner.img")
			cloud, server, _ := emulatedCloud(t, func(c *Config) { c.StoragePath, c.Disk = folder, 50<<20 })
			if warnings, err := cloud.ensurePool(server, 2); err != nil || warnings != nil {
				t.Fatalf("ensurePool: %q, %v", warnings, err)
			}
			pool, _, err := server.GetStoragePool(cloud.poolName())
			if err != nil || pool.Driver != driver {
				t.Errorf("the pool is %+v, %v", pool, err)
			}
			if mounted, err := mounts.On(filepath.Join(folder, "github-runner")); err != nil || mounted != (driver == "btrfs") {
				t.Errorf("a file system of its own: %v, %v", mounted, err)
			}
			makeProfile(t, cloud, server)
			for range 2 {
				if err := cloud.Destroy(t.Context()); err != nil {
					t.Error(err)
				}
			}
			left, err := filepath.Glob(filepath.Join(folder, "*"))
			if want := []string{filepath.Join(folder, "lost+found"), filepath.Join(folder, "of-the-operators")}; err != nil || !slices.Equal(left, want) {
				t.Errorf("left is %v, want %v", left, want)
			}
		})
	}
}

func TestPoolThatCannotBeMadeLeavesNothing(t *testing.T) {
	folder := attach(t, 1<<30)
	cloud, server, control := emulatedCloud(t, func(c *Config) { c.StoragePath, c.Disk = folder, 50<<20 })
	fault := emulation.Fault{Kind: emulation.CallFails, Name: "POST /1.0/storage-pools", Message: "no"}
	if _, err := control.AddFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ensurePool(server, 1); err == nil {
		t.Error("the pool was made against LXD's will")
	}
	if left, err := filepath.Glob(filepath.Join(folder, "github-runner*")); err != nil || left != nil {
		t.Errorf("left is %v", left)
	}
}

// Whoever was killed may have left a mount without a pool.
func TestWhatWasHalfMadeIsNoObstacle(t *testing.T) {
	folder := attach(t, 1<<30)
	cloud, server, _ := emulatedCloud(t, func(c *Config) { c.StoragePath, c.Disk = folder, 50<<20 })
	if err := cloud.fitMemory(1); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ground().prepare(t.Context(), true, func(err error) { t.Log(err) }); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ensurePool(server, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cloud.memoryDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("memory that nothing uses stays: %v", err)
	}
	if err := cloud.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(folder, "github-runner*")); err != nil || left != nil {
		t.Errorf("left is %v", left)
	}
}

// A tmpfs is gone after a restart of the machine, a file system in a file is not
// mounted any more; LXD's database still has the pool and its instances.
func TestLostPoolIsMadeAnew(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, c *Config){
		"memory":   func(_ *testing.T, c *Config) { c.StorageKind = MemoryStorage },
		"attached": func(t *testing.T, c *Config) { c.StoragePath = attach(t, 1<<30) },
	} {
		t.Run(name, func(t *testing.T) {
			needsMounts(t)
			cloud, server, _ := emulatedCloud(t, func(c *Config) {
				c.Disk = 10 << 20
				change(t, c)
			})
			t.Cleanup(func() { removeAll(t, cloud) })
			if _, err := cloud.ensurePool(server, 1); err != nil {
				t.Fatal(err)
			}
			dead, alive := stoppedRunner(t, cloud, server), stoppedRunner(t, cloud, server)
			if err := server.power(alive, "start"); err != nil {
				t.Fatal(err)
			}
			ground := cloud.ground()
			lost := map[string]string{"memory": ground.folder, "attached": ground.base()}[name]
			if err := mounts.Detach(lost); err != nil {
				t.Fatal(err)
			}
			_, err := cloud.ensurePool(server, 1)
			if !errors.As(err, new(runner.Trouble)) || !strings.Contains(err.Error(), alive) {
				t.Errorf("storage gone from under a running runner: %v", err)
			}
			if left := instancesOn(t, server); !slices.Contains(left, alive) {
				t.Fatalf("a running runner was removed, left are %v", left)
			}
			if err := server.power(alive, "stop"); err != nil {
				t.Fatal(err)
			}
			if _, err := cloud.ensurePool(server, 1); err != nil {
				t.Errorf("the pool is not made anew: %v", err)
			}
			if left := instancesOn(t, server); len(left) > 0 {
				t.Errorf("the dead %s and %s: left are %v", dead, alive, left)
			}
			pool, _, err := server.GetStoragePool(cloud.poolName())
			if err != nil || pool.Status != api.StoragePoolStatusCreated {
				t.Errorf("the new pool is %+v, %v", pool, err)
			}
			if _, err := os.Stat(ground.source()); err != nil {
				t.Errorf("the new pool's folder: %v", err)
			}
		})
	}
}

func TestSharedPoolWithoutItsSource(t *testing.T) {
	cloud, server, control := emulatedCloud(t, nil)
	folder := filepath.Join(t.TempDir(), "operators")
	if err := os.Mkdir(folder, 0o711); err != nil {
		t.Fatal(err)
	}
	request := api.StoragePoolsPost{Name: sharedPool, Driver: "dir", StoragePoolPut: api.StoragePoolPut{Config: map[string]string{"source": folder}}}
	if err := server.change("POST", "/storage-pools", request, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.ensurePool(server, 1); err != nil {
		t.Errorf("an operator's pool is not taken: %v", err)
	}
	if err := errors.Join(os.Remove(folder), control.Restart(t.Context(), 0)); err != nil {
		t.Fatal(err)
	}
	_, err := cloud.ensurePool(server, 1)
	var trouble runner.Trouble
	if !errors.As(err, &trouble) || !strings.Contains(trouble.Advice, folder) {
		t.Errorf("a pool without its source: %v", err)
	}
	if _, _, err := server.GetStoragePool(sharedPool); err != nil {
		t.Errorf("the operator's pool is gone: %v", err)
	}
}

func TestProfilesThatNothingUsesGo(t *testing.T) {
	cloud, server, _ := emulatedCloud(t, nil)
	if _, err := cloud.ensurePool(server, 1); err != nil {
		t.Fatal(err)
	}
	name := stoppedRunner(t, cloud, server)
	first := cloud.profileName(false)
	cloud.config.Disk++
	for _, used := range []bool{true, false} {
		if !used {
			if err := cloud.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if err := cloud.ensureProfile(server); err != nil {
			t.Fatal(err)
		}
		profiles, err := server.GetProfiles()
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(profiles, func(p api.Profile) bool { return p.Name == first })
		if found != used {
			t.Errorf("the former profile is there: %v, in use: %v", found, used)
		}
	}
}

func TestCreateWithoutSpaceSaysWhatToDo(t *testing.T) {
	for kind, wants := range map[emulation.Kind][]string{
		emulation.PoolFull:    {"the storage pool github-runner is full", "MiB are in use", "vm-disk"},
		emulation.DiskQuota:   {"vm-disk of 5120 MiB is too small for the image noble"},
		emulation.CreateFails: {"unsquashfs"},
	} {
		cloud, _, control := emulatedCloud(t, nil)
		template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		birth := runner.Birth{Name: cloud.config.Owner.NewName(), JIT: secret.New("test-jit")}
		err = cloud.Create(t.Context(), template, birth)
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: create fails with %v, want %q", kind, err, want)
			}
		}
		if errors.Is(err, runner.ErrQuota) != (kind != emulation.CreateFails) {
			t.Errorf("%s: the kind of %v", kind, err)
		}
		if err := cloud.exchange(birth.Name).remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestTooManyContainersForInotify(t *testing.T) {
	proc := t.TempDir()
	folder := filepath.Join(proc, "sys/fs/inotify")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	limit := func(text string) {
		if err := os.WriteFile(filepath.Join(folder, "max_user_instances"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := testConfig(t)
	told := func(count int) string {
		cloud, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(cloud.checkInotify(count, proc), "; ")
	}
	if got := told(100); got != "" {
		t.Errorf("without a limit: %q", got)
	}
	limit("128\n")
	if got := told(14); got != "" {
		t.Errorf("within the limit: %q", got)
	}
	if got := told(15); !strings.Contains(got, "fs.inotify.max_user_instances is 128") {
		t.Errorf("beyond the limit: %q", got)
	}
	config.InstanceType = VirtualMachine
	if got := told(100); got != "" {
		t.Errorf("machines with a kernel of their own: %q", got)
	}
}

func TestForeignInstanceDoesNotHoldStorage(t *testing.T) {
	cloud, server, _ := emulatedCloud(t, nil)
	if _, err := cloud.ensurePool(server, 1); err != nil {
		t.Fatal(err)
	}
	foreign := api.InstancesPost{
		Name:        cloud.config.Owner.NewName(),
		Source:      api.InstanceSource{Type: "image", Alias: "noble"},
		InstancePut: api.InstancePut{Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": sharedPool}}},
	}
	if err := server.change("POST", "/instances", foreign, ""); err != nil {
		t.Fatal(err)
	}
	cloud.config.StorageKind = MemoryStorage
	pool, _, err := server.GetStoragePool(sharedPool)
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.leavePool(server, *pool); err != nil {
		t.Errorf("somebody else's instance keeps the unit from other storage: %v", err)
	}
}
