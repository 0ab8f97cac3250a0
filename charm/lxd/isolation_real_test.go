package lxd

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

func TestRealDamagedInstances(t *testing.T) {
	cloud := realCloud(t, nil)
	template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	server, cancel, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	create := func(name string, config map[string]string) {
		t.Helper()
		request := emptyInstance(cloud, name, config)
		if err := server.change(http.MethodPost, "/instances", request, ""); err != nil {
			t.Fatal(err)
		}
	}
	owner := cloud.config.Owner
	young, old, foreign := owner.NewName(), owner.NewName(), owner.NewName()
	create(young, cloud.metadata(template, runner.Birth{Name: young}, time.Now()))
	create(old, cloud.metadata(template, runner.Birth{Name: old}, time.Now().Add(-time.Hour)))
	create(foreign, nil)
	t.Cleanup(func() { server.change(http.MethodDelete, apiPath("instances", foreign), nil, "") })
	trace := owner.NewName()
	if _, err := cloud.exchange(trace).make(); err != nil {
		t.Fatal(err)
	}

	for name, wanted := range map[string]runner.Status{young: runner.StatusCreating, old: runner.StatusError, trace: runner.StatusTraces} {
		if got := find(t, cloud, name); got.Status != wanted || got.Foreign {
			t.Errorf("wanted %s, got %+v", wanted, got)
		}
	}
	if got := find(t, cloud, foreign); !got.Foreign {
		t.Errorf("somebody else's instance is %+v", got)
	}
	if err := cloud.Delete(t.Context(), foreign); err == nil {
		t.Error("somebody else's instance was deleted")
	}
	if err := cloud.Destroy(t.Context()); !errors.Is(err, runner.ErrBusy) {
		t.Errorf("Destroy beside instances: %v", err)
	}
	for _, name := range []string{young, old, trace} {
		if err := cloud.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if err := server.change(http.MethodDelete, apiPath("instances", foreign), nil, ""); err != nil {
		t.Error(err)
	}
}

func TestRealUnitsShareThePoolOnly(t *testing.T) {
	first := realCloud(t, nil)
	second := realCloud(t, func(c *Config) { c.Owner.Unit = "tests/1" })
	for _, cloud := range []*Cloud{first, second} {
		if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Fatal(err)
	}
	left := inventory(t, second)
	if !strings.Contains(left, sharedPool) || strings.Contains(left, first.config.unitName()) || !strings.Contains(left, second.config.unitName()) {
		t.Errorf("after one of two units was removed: %s", left)
	}
	if err := second.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := inventory(t, second); strings.Contains(left, second.config.unitName()) {
		t.Errorf("after both were removed: %s", left)
	}
}

// inventory names all that there is of networks, ACLs, profiles and pools.
func inventory(t *testing.T, cloud *Cloud) string {
	t.Helper()
	server, cancel, err := cloud.connect(t.Context(), callDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	var names []string
	networks, err1 := server.GetNetworks()
	for _, network := range networks {
		names = append(names, network.Name)
	}
	profiles, err2 := server.GetProfiles()
	for _, profile := range profiles {
		names = append(names, profile.Name)
	}
	pools, err3 := server.GetStoragePools()
	for _, pool := range pools {
		names = append(names, pool.Name)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestRealOwnStorage(t *testing.T) {
	attached := t.TempDir()
	for name, change := range map[string]func(*Config){
		"memory":   func(c *Config) { c.StorageKind, c.Disk = MemoryStorage, 1<<30 },
		"attached": func(c *Config) { c.StoragePath = attached },
	} {
		t.Run(name, func(t *testing.T) {
			cloud := realCloud(t, change)
			template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			birth := runner.Birth{Name: cloud.config.Owner.NewName()}
			if err := cloud.Create(t.Context(), template, birth); err != nil {
				t.Fatal(err)
			}
			other := cloud.config
			other.StorageKind, other.StoragePath = MemoryStorage, ""
			if name == "memory" {
				other.StorageKind = JujuStorage
			}
			changed, err := New(other)
			if err != nil {
				t.Fatal(err)
			}
			var trouble runner.Trouble
			if _, err := changed.Prepare(t.Context(), runner.Want{Count: 1}); !errors.As(err, &trouble) || !strings.Contains(err.Error(), "runner-storage") {
				t.Errorf("another storage while a runner lives: %v", err)
			}
			if err := cloud.Delete(t.Context(), birth.Name); err != nil {
				t.Error(err)
			}
			if err := cloud.Destroy(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(cloud.config.ExchangeDir), "memory")); err == nil {
				t.Error("the storage in memory is still there")
			}
		})
	}
}

func TestRealWatchSeesFilesAndInstances(t *testing.T) {
	cloud := realCloud(t, nil)
	name := cloud.config.Owner.NewName()
	if _, err := cloud.exchange(name).make(); err != nil {
		t.Fatal(err)
	}
	changes, err := cloud.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"anything", cloudinit.RunCompletedFile} {
		if err := os.WriteFile(filepath.Join(cloud.exchange(name).path(), file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case _, ok := <-changes:
		if !ok {
			t.Fatal("the watch was lost")
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed that a runner completed")
	}
}

func TestRealSteadyPrepareWritesNothing(t *testing.T) {
	cloud := realCloud(t, nil)
	first, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Other tests' labs give this machine addresses and take them, and a Prepare that
	// has seen that writes the ACL anew.
	const attempts = 10
	var wrote []string
	for range attempts {
		before := aclOf(t, cloud)
		wrote = writtenBy(t, cloud, func() {
			again, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			if first.Hash != again.Hash || again.BootDeadline != containerBoot {
				t.Errorf("%+v, then %+v", first, again)
			}
		})
		if cmp.Equal(before, aclOf(t, cloud)) {
			break
		}
	}
	if len(wrote) > 0 {
		t.Errorf("a steady Prepare wrote: %s", strings.Join(wrote, "\n"))
	}
}

// aclOf returns the rules of the unit's ACL.
func aclOf(t *testing.T, cloud *Cloud) []api.NetworkACLRule {
	t.Helper()
	server, cancel, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	acl, _, err := server.GetNetworkACL(cloud.config.unitName())
	if err != nil {
		t.Fatal(err)
	}
	return acl.Egress
}

// writtenBy returns LXD's events of what do changed of the unit's.
func writtenBy(t *testing.T, cloud *Cloud, do func()) []string {
	t.Helper()
	server, cancel, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	events, err := server.RawWebsocket("/events?type=lifecycle")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	do()
	// An event of our own marks the end of those to look at.
	marker := cloud.config.unitName() + "-marker"
	if err := server.change(http.MethodPost, "/profiles", api.ProfilesPost{Name: marker}, ""); err != nil {
		t.Fatal(err)
	}
	defer server.change(http.MethodDelete, apiPath("profiles", marker), nil, "")
	var written []string
	for {
		_, message, err := events.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(message), marker) {
			return written
		}
		if strings.Contains(string(message), cloud.config.unitName()) {
			written = append(written, string(message))
		}
	}
}
