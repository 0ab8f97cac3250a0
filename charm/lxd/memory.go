package lxd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/runner"
)

// memoryDir is where a pool in memory is mounted.
func (c *Cloud) memoryDir() string {
	return filepath.Join(filepath.Dir(c.config.ExchangeDir), "memory")
}

// memoryFor is how large the storage in memory has to be for so many runners:
// their disks, and a tenth for the copy of a runner that is on its way out while
// the next one is made.
func (c *Cloud) memoryFor(count int) int64 {
	const page = 1 << 20
	disks := c.config.Disk * int64(max(count, 1))
	return (disks + disks/10 + page - 1) / page * page
}

// fitMemory mounts the storage in memory, or gives the one that is there the size
// for so many runners. What is on it stays, whatever happens: one that can't grow
// is an error, one that can't shrink keeps its size, for it takes no more than
// what is used.
func (c *Cloud) fitMemory(count int) error {
	dir, size := c.memoryDir(), c.memoryFor(count)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder for storage in memory: %w", err)
	}
	mounted, err := mounts.On(dir)
	if err != nil {
		return fmt.Errorf("cannot look at the storage in memory: %w", err)
	}
	if !mounted {
		return mountMemory(dir, size, 0)
	}
	now, err := spaceAt(dir)
	if err != nil {
		return fmt.Errorf("cannot look at the storage in memory: %w", err)
	}
	log := c.log.WithField("mib", size>>20).WithField("former-mib", now.total>>20)
	switch {
	case now.total == size:
		return nil
	case now.used > size:
		log.WithField("used-mib", now.used>>20).Debug("the storage in memory stays larger than it need be: more is in use")
		return nil
	}
	err = mountMemory(dir, size, unix.MS_REMOUNT)
	switch {
	case err == nil:
		log.Info("the storage in memory has another size")
	case size < now.total:
		log.WithError(err).Warn("the storage in memory stays larger than it need be")
		return nil
	}
	return err
}

// mountMemory mounts a tmpfs, or changes the size of the one that is there. Set
// user IDs work on it: jobs use sudo. Nobody but root gets into the folder that
// it lies in.
func mountMemory(dir string, size int64, flags uintptr) error {
	// Root in a container is nobody on the host, and must get to its files.
	err := unix.Mount("github-runner", dir, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0711", size))
	if errors.Is(err, fs.ErrPermission) {
		return runner.Trouble{Advice: "runner-storage=memory needs root: set runner-storage=juju-storage", Err: err}
	}
	if err != nil {
		return runner.Trouble{
			Advice: fmt.Sprintf("the storage in memory can't get %d MiB: lower virtual-machines or vm-disk, or set runner-storage=juju-storage", size>>20),
			Err:    err,
		}
	}
	return nil
}

// unmountMemory undoes fitMemory; nil where there is nothing to undo.
func unmountMemory(dir string) error {
	err := mounts.Detach(dir)
	if err == nil {
		err = os.Remove(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot give the storage in memory back: %w", err)
	}
	return nil
}
