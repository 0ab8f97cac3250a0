package allinone

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	for guests, want := range map[Guests]string{Fake: "fake.FakeDriver", QEMU: "libvirt.LibvirtDriver"} {
		s := &Stack{State: t.TempDir(), Address: netip.MustParseAddr("198.51.100.2"), Guests: guests, password: "only-for-the-administrator"}
		if err := os.Mkdir(s.path(""), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := s.writeSettings(); err != nil {
			t.Fatal(err)
		}
		for name, words := range map[string][]string{
			"keystone.conf":   {s.database("keystone"), s.State + "/keys/fernet"},
			"placement.conf":  {s.database("placement"), "[keystone_authtoken]"},
			"glance-api.conf": {s.database("glance"), "bind_host = 198.51.100.2", s.State + "/images"},
			"nova.conf":       {s.database("nova_api"), s.database("nova_cell1"), "compute_driver = " + want, "http://198.51.100.2:5000"},
			"neutron.conf":    {s.database("neutron"), "flat_networks = " + physical, "password = " + s.password},
			"rabbitmq.config": {`{"127.0.0.1", 5672}`},
		} {
			text, err := os.ReadFile(s.path(name))
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range words {
				if !strings.Contains(string(text), word) {
					t.Errorf("%s: %s has no %q:\n%s", guests, name, word, text)
				}
			}
			if info, err := os.Stat(s.path(name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s, which may have passwords in it, has the mode %v, %v", name, info.Mode(), err)
			}
		}
	}
}

func TestCloudsFileIsItsOwnersAlone(t *testing.T) {
	s := &Stack{Address: netip.MustParseAddr("198.51.100.2")}
	path := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := s.writeClouds(path, "lab", "somebody", `a"'b`); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"http://198.51.100.2:5000/v3", "username: somebody", "project_name: lab", "region_name: RegionOne"} {
		if !strings.Contains(string(text), word) {
			t.Errorf("no %q in:\n%s", word, text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}
