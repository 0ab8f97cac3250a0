package lxd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github-runner/lab/skip"
)

func TestInstalled(t *testing.T) {
	t.Setenv("LXD_DIR", "")
	const dpkgStatus, ubuntu, debian = "/var/lib/dpkg/status", "ID=ubuntu\n", "ID=debian\n"
	lxdPackage := func(status string) string {
		return "Package: lxd\nStatus: install ok " + status + "\nMaintainer: x\nArchitecture: amd64\nVersion: 5.0\nDescription: x\n"
	}
	for name, test := range map[string]struct {
		release string
		files   map[string]string
		wanted  bool
	}{
		"ubuntu, nothing":            {ubuntu, nil, false},
		"ubuntu, the installer only": {ubuntu, map[string]string{"/usr/sbin/lxd": "", "/usr/sbin/lxc": ""}, false},
		"ubuntu, the snap":           {ubuntu, map[string]string{"/snap/bin/lxd": ""}, true},
		"ubuntu, the snap's socket":  {ubuntu, map[string]string{snapSocket: ""}, true},
		"debian, nothing":            {debian, nil, false},
		"debian, a socket":           {debian, map[string]string{debianSocket: ""}, true},
		"debian, unpacked":           {debian, map[string]string{"/usr/bin/lxd": "", dpkgStatus: lxdPackage("unpacked")}, false},
		"debian, installed":          {debian, map[string]string{dpkgStatus: lxdPackage("installed")}, true},
		"another, by hand":           {"ID=other\n", map[string]string{debianSocket: ""}, true},
		"another, nothing":           {"ID=other\n", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if test.files[dpkgStatus] != "" {
				skip.Without(t, "dpkg-query")
			}
			config := testConfig(t)
			config.Root = t.TempDir()
			files := map[string]string{"/etc/os-release": test.release, "/var/lib/dpkg/status": "", "/var/lib/dpkg/available": ""}
			for path, content := range merged(files, test.files) {
				path = filepath.Join(config.Root, path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			cloud, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			if got := cloud.Installed(); got != test.wanted {
				t.Errorf("installed: %v", got)
			}
			cloud.config.Socket = "/somewhere"
			if !cloud.Installed() {
				t.Error("a socket that was named is somebody else's to bring")
			}
		})
	}
}

func TestInstallationsFinishWhatWasInterrupted(t *testing.T) {
	for id, steps := range installations {
		if !slices.Equal(steps[0].command, []string{"dpkg", "--configure", "-a"}) {
			t.Errorf("%s begins with %q", id, steps[0].command)
		}
	}
}

// Debian's LXD decides when it starts whether it can run virtual machines.
func TestDebianGetsQEMUBeforeLXD(t *testing.T) {
	place := func(steps []step, word string) int {
		return slices.IndexFunc(steps, func(s step) bool { return slices.Contains(s.command, word) })
	}
	virtual, containers := installation("debian", true), installation("debian", false)
	if qemu, lxd := place(virtual, "qemu-utils"), place(virtual, "lxd"); qemu < 0 || lxd < qemu {
		t.Errorf("QEMU is step %d, LXD step %d", qemu, lxd)
	}
	if place(containers, "qemu-utils") >= 0 || place(installation("ubuntu", true), "qemu-utils") >= 0 {
		t.Error("QEMU is installed where nobody needs it")
	}
	if installation("plan9", true) != nil {
		t.Error("LXD is installed where nobody knows how")
	}
}

// Children that keep the output open must not make a command endless.
func TestRunEndsWithItsChildren(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	if err := run(t.Context(), []string{"sh", "-c", "sleep 20 & true"}); err != nil {
		t.Errorf("a command that left a child: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := run(ctx, []string{"sh", "-c", "sleep 20; true"}); err == nil {
		t.Error("a command that was ended succeeded")
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := run(t.Context(), []string{"sh", "-c", "echo why; exit 3"}); err == nil {
		t.Error("a failed command succeeded")
	}
}
