package lxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github-runner/charm/mounts"
	"github-runner/charm/runner"
)

// ground is the folder that a pool of the unit's own lies in: a tmpfs, or what
// Juju attached. The pool's own folder lies two levels below it and is there only
// as long as the ground is. So LXD says after a restart of the machine that the
// pool is unavailable, where it would otherwise take the empty mount point on the
// machine's disk for it.
type ground struct {
	folder string
}

const (
	groundName = "github-runner"
	poolFolder = "pool"
)

// file holds a file system of our own, where that of the ground has no clones.
func (g ground) file() string { return filepath.Join(g.folder, groundName+".img") }

// base is where the file is mounted; a plain folder without one.
func (g ground) base() string { return filepath.Join(g.folder, groundName) }

// source is the pool's own folder.
func (g ground) source() string { return filepath.Join(g.base(), poolFolder) }

// ground is where the configured pool of the unit's own is made.
func (c *Cloud) ground() ground {
	if c.config.StorageKind == MemoryStorage {
		return ground{c.memoryDir()}
	}
	return ground{c.config.StoragePath}
}

// groundOf is where a pool was made, by its source.
func groundOf(source string) (g ground, ok bool) {
	folder, ok := strings.CutSuffix(source, "/"+groundName+"/"+poolFolder)
	return ground{folder}, ok
}

// smallestFile is the least space that a file system in a file is worth making
// for: btrfs keeps a good part of a small one for itself.
const smallestFile = 512 << 20

// plan is what a pool on a ground will be made of.
type plan struct {
	driver string
	file   int64 // size of a file system in a file, 0 for none
	why    error // there will be no clones although LXD has them
}

// plan decides on a new pool, as if what an earlier one left had gone.
//
// A tmpfs takes the driver dir: in a file system in a file on it, writes of a
// container whose memory is used up could fail for all runners at once. On
// anything else clones are worth a file system: creating a runner takes a third
// of the time, its disk has a bound, and the image is there once.
func (g ground) plan(clones bool) (plan, error) {
	found, err := spaceAt(g.folder)
	switch {
	case err != nil:
		return plan{}, err
	case !clones, found.kind == unix.TMPFS_MAGIC:
		return plan{driver: "dir"}, nil
	case found.kind == unix.BTRFS_SUPER_MAGIC:
		return plan{driver: "btrfs"}, nil
	}
	size, err := g.fileSize(found)
	if err != nil {
		return plan{}, err
	}
	if size < smallestFile {
		return plan{driver: "dir", why: fmt.Errorf("%d MiB are too few for a file system of its own", found.free>>20)}, nil
	}
	for _, command := range g.fileCommands() {
		if _, err := exec.LookPath(command[0]); err != nil {
			return plan{driver: "dir", why: err}, nil
		}
	}
	return plan{driver: "btrfs", file: size}, nil
}

// fileSize is how large the file for a file system may become. It can't outgrow a
// ground that is a file system of the unit's own; of the machine's it takes three
// quarters of what is free at most, as the shared pool does.
func (g ground) fileSize(found space) (int64, error) {
	free := found.free
	var former unix.Stat_t
	if err := unix.Lstat(g.file(), &former); err == nil {
		free += former.Blocks * 512 // the unit of st_blocks, whatever the file system
	} else if ignoreNoFile(err) != nil {
		return 0, storageTrouble(g.folder, err)
	}
	shared, err := sameFileSystem(g.folder, "/")
	if shared {
		return free / 4 * 3, err
	}
	return free - free/50, err
}

// fileCommands make the file system in the file, and mount it.
func (g ground) fileCommands() [][]string {
	return [][]string{
		{"mkfs.btrfs", "--quiet", "--metadata", "single", g.file()},
		{"mount", "-t", "btrfs", "-o", "loop,discard", g.file(), g.base()},
	}
}

// prepare makes the ground ready for a new pool and returns the pool's driver:
// the planned one, or dir where no file system can be made. What an earlier pool
// left goes.
func (g ground) prepare(ctx context.Context, clones bool, why func(error)) (driver string, err error) {
	if err := g.clear(); err != nil {
		return "", err
	}
	plan, err := g.plan(clones)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(g.base(), 0o711); err != nil {
		return "", storageTrouble(g.folder, err)
	}
	if plan.file > 0 {
		plan.why = g.makeFile(ctx, plan.file)
	}
	if plan.driver == "btrfs" && plan.why == nil {
		return plan.driver, nil // LXD makes the subvolume
	}
	if plan.why != nil {
		why(plan.why)
	}
	if err := errors.Join(ignoreNoFile(mounts.Detach(g.base())), ignoreNoFile(os.Remove(g.file()))); err != nil {
		return "", err
	}
	if err := os.Mkdir(g.source(), 0o711); err != nil {
		return "", storageTrouble(g.folder, err)
	}
	return "dir", nil
}

// makeFile makes a file system in a file and mounts it. The file takes the space
// that is used, and gives back what is not any more.
func (g ground) makeFile(ctx context.Context, size int64) error {
	file, err := os.OpenFile(g.file(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return err
	}
	for _, command := range g.fileCommands() {
		if err := run(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// clear removes what is the charm's on the ground, and nothing else; nil where
// nothing is. LXD has let go of it before.
func (g ground) clear() error {
	if err := ignoreNoFile(mounts.Detach(g.base())); err != nil {
		return err
	}
	for _, path := range []string{g.file(), g.base()} {
		// Looked at first, because nothing can be removed where nothing can be
		// written, not even what is not there.
		if _, err := os.Lstat(path); ignoreNoFile(err) != nil {
			return storageTrouble(g.folder, err)
		} else if err != nil {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return storageTrouble(g.folder, err)
		}
	}
	return nil
}

func ignoreNoFile(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// storageTrouble is what a person is told of storage that can't be used.
func storageTrouble(folder string, err error) error {
	advice := "the storage at %s can't be used: attach another one, or detach it"
	switch {
	case errors.Is(err, unix.EROFS):
		advice = "the storage at %s is read-only: make it writable, or attach another one"
	case errors.Is(err, unix.ENOTDIR):
		advice = "the storage at %s is no folder: attach a storage of the type filesystem"
	case errors.Is(err, fs.ErrNotExist):
		advice = "the storage at %s is not there: mount it again, or detach it"
	case errors.Is(err, unix.ENOSPC):
		advice = "the storage at %s is full: remove what is not the charm's from it, or attach a larger one"
	}
	return runner.Trouble{Advice: fmt.Sprintf(advice, folder), Err: err}
}

// bytesOf is a size in LXD's words.
func bytesOf(size int64) string {
	return strconv.FormatInt(size, 10) + "B"
}
