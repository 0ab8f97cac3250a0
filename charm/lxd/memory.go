package lxd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github-runner/charm/runner"
)

// mountMemory makes dir a tmpfs of at least size bytes, or enlarges the one that
// is there. It never shrinks one: runners may live on it.
func mountMemory(dir string, size int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder for storage in memory: %w", err)
	}
	mounted, err := exchange{root: filepath.Dir(dir), name: filepath.Base(dir)}.isMounted()
	if err != nil {
		return fmt.Errorf("cannot look at the storage in memory: %w", err)
	}
	flags := uintptr(unix.MS_NOSUID)
	if mounted {
		var space unix.Statfs_t
		if err := unix.Statfs(dir, &space); err != nil {
			return fmt.Errorf("cannot look at the storage in memory: %w", err)
		}
		if int64(space.Blocks)*space.Bsize >= size {
			return nil
		}
		flags |= unix.MS_REMOUNT
	}
	// Root in a container is nobody on the host, and must get to its files.
	err = unix.Mount("github-runner", dir, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0711", size))
	if errors.Is(err, fs.ErrPermission) {
		return runner.Trouble{Advice: "runner-storage=memory needs root: set runner-storage=juju-storage", Err: err}
	}
	if err != nil {
		return fmt.Errorf("cannot mount %d bytes of storage in memory: %w", size, err)
	}
	return nil
}

// unmountMemory undoes mountMemory; nil where there is nothing to undo.
func unmountMemory(dir string) error {
	for {
		mounted, err := exchange{root: filepath.Dir(dir), name: filepath.Base(dir)}.isMounted()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot look at the storage in memory: %w", err)
		}
		if !mounted {
			break
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot unmount the storage in memory: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the folder for storage in memory: %w", err)
	}
	return nil
}
