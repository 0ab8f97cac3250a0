// Package mounts takes away what is mounted on folders.
package mounts

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// On reports whether a folder is on another file system than the one that it lies
// in. A symbolic link is not followed. The error is fs.ErrNotExist of what is not
// there.
func On(folder string) (bool, error) {
	var inner, outer unix.Stat_t
	if err := unix.Lstat(folder, &inner); err != nil {
		return false, &fs.PathError{Op: "look at", Path: folder, Err: err}
	}
	if err := unix.Lstat(filepath.Dir(folder), &outer); err != nil {
		return false, &fs.PathError{Op: "look at", Path: folder, Err: err}
	}
	return inner.Mode&unix.S_IFMT == unix.S_IFDIR && inner.Dev != outer.Dev, nil
}

// Detach takes away all that is mounted on a folder, in use or not. The error is
// fs.ErrNotExist of a folder that is not there.
func Detach(folder string) error {
	for {
		mounted, err := On(folder)
		if err != nil || !mounted {
			return err
		}
		err = unix.Unmount(folder, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) {
			// Somebody else was faster; or it is a btrfs subvolume, or a mount of
			// a machine that this one is a container of, and stays.
			if still, lookErr := On(folder); lookErr != nil || !still {
				return lookErr
			}
		}
		if err != nil {
			return fmt.Errorf("cannot unmount %s: %w", folder, err)
		}
	}
}
