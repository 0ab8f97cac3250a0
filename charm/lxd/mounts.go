package lxd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// isMounted reports whether a folder is on another file system than the one that
// it lies in.
func isMounted(folder string) (bool, error) {
	own, err := os.Lstat(folder)
	if err != nil {
		return false, err
	}
	parent, err := os.Lstat(filepath.Dir(folder))
	if err != nil {
		return false, err
	}
	return own.Sys().(*syscall.Stat_t).Dev != parent.Sys().(*syscall.Stat_t).Dev, nil
}

// sameFileSystem reports whether two folders are on one file system.
func sameFileSystem(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return first.Sys().(*syscall.Stat_t).Dev == second.Sys().(*syscall.Stat_t).Dev, nil
}

// unmount takes away all that is mounted on a folder, in use or not. It leaves
// fs.ErrNotExist of a folder that is not there to its caller.
func unmount(folder string) error {
	for {
		mounted, err := isMounted(folder)
		if err != nil || !mounted {
			return err
		}
		if err := unix.Unmount(folder, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot unmount %s: %w", folder, err)
		}
	}
}

// space is what a file system has, in bytes.
type space struct {
	total, used, free int64
	kind              int64
}

// spaceAt looks at the file system of a folder. Free is what LXD, which is root,
// may count on: without what the file system keeps back.
func spaceAt(folder string) (space, error) {
	var found unix.Statfs_t
	if err := unix.Statfs(folder, &found); err != nil {
		return space{}, &os.PathError{Op: "look at", Path: folder, Err: err}
	}
	return space{
		total: int64(found.Blocks) * found.Bsize,
		used:  int64(found.Blocks-found.Bfree) * found.Bsize,
		free:  int64(found.Bavail) * found.Bsize,
		kind:  int64(found.Type),
	}, nil
}
