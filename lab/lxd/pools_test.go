package lxd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
)

// What a pool was made on may be gone when the daemon starts; it may come back.
func TestPoolWithoutItsSource(t *testing.T) {
	d := startDaemon(t)
	folder := filepath.Join(t.TempDir(), "pool")
	must(t, os.Mkdir(folder, 0o711))
	must(t, d.client.CreateStoragePool(api.StoragePoolsPost{
		Name: "lost", Driver: "dir", StoragePoolPut: api.StoragePoolPut{Config: map[string]string{"source": folder}},
	}))
	must(t, d.client.CreateProfile(api.ProfilesPost{Name: "lost", ProfilePut: api.ProfilePut{
		Devices: devices{"root": {"type": "disk", "path": "/", "pool": "lost"}},
	}}))
	create := func(name string) error {
		operation, err := d.client.CreateInstance(api.InstancesPost{
			Name: name, Source: api.InstanceSource{Type: "image", Alias: "noble"}, InstancePut: api.InstancePut{Profiles: []string{"lost"}},
		})
		return d.wait(operation, err)
	}
	must(t, create("r1"))
	for _, gone := range []bool{true, false} {
		if gone {
			must(t, os.Remove(folder))
		} else {
			must(t, os.Mkdir(folder, 0o711))
		}
		must(t, d.Restart(t.Context(), 0))
		pool, _, err := d.client.GetStoragePool("lost")
		must(t, err)
		if want := map[bool]string{true: "Unavailable", false: "Created"}[gone]; pool.Status != want {
			t.Errorf("the pool is %s, want %s", pool.Status, want)
		}
		for what, err := range map[string]error{"create": create("r2"), "start": d.power("r1", "start")} {
			if refused := err != nil && strings.Contains(err.Error(), "unavailable on this server"); refused != gone {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
