package mounts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github-runner/lab/skip"
)

// mountOn mounts a tmpfs, where that is allowed.
func mountOn(t *testing.T, folder string) {
	t.Helper()
	if err := unix.Mount("test", folder, "tmpfs", 0, "size=1m"); errors.Is(err, fs.ErrPermission) {
		skip.Because(t, "mounting takes root")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
}

func TestDetachTakesAllMounts(t *testing.T) {
	folder := t.TempDir()
	mountOn(t, folder)
	mountOn(t, folder)
	inUse, err := os.Create(filepath.Join(folder, "in-use"))
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	if err := Detach(folder); err != nil {
		t.Fatal(err)
	}
	if mounted, err := On(folder); mounted || err != nil {
		t.Errorf("On after Detach: %t, %v", mounted, err)
	}
	if err := Detach(folder); err != nil {
		t.Errorf("with nothing mounted: %v", err)
	}
}

func TestDetachDoesNotFollowLinks(t *testing.T) {
	folder := t.TempDir()
	mountOn(t, folder)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	if err := Detach(link); err != nil {
		t.Fatal(err)
	}
	if mounted, err := On(folder); !mounted || err != nil {
		t.Errorf("On the link's target: %t, %v; it must be mounted still", mounted, err)
	}
}

func TestDetachOfNothing(t *testing.T) {
	if err := Detach(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

// lockedFolder tells the test below, in a process of its own, what to detach.
const lockedFolder = "MOUNTS_TEST_LOCKED_FOLDER"

// The kernel lets nobody take away what was mounted outside the user namespace
// that the process is in, such as a container's.
func TestDetachOfWhatStays(t *testing.T) {
	if folder := os.Getenv(lockedFolder); folder != "" {
		if err := Detach(folder); err == nil || !strings.Contains(err.Error(), "cannot unmount "+folder) {
			t.Errorf("error %v, want one that names the folder", err)
		}
		return
	}
	folder := t.TempDir()
	mountOn(t, folder)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDetachOfWhatStays$")
	cmd.Env = append(os.Environ(), lockedFolder+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	output, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		skip.Because(t, "this machine allows no user namespaces")
	}
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
}
