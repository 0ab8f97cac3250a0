// Package unitdir is the unit's own folder on its machine: the state file, the
// caches, the lock, and the folders for the logs of its runners. It knows what
// a safe file is, and nothing of what is in it.
package unitdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// LogRetention is how long the logs of a runner are kept.
const LogRetention = 7 * 24 * time.Hour

// Places under the root.
const (
	unitsPath = "var/lib/github-runner"
	logsPath  = "var/log/github-runner-logs"
)

// Dir is the folder of one unit. Its methods may be called by several
// goroutines; what writes is to be called with the unit's lock held.
type Dir struct {
	root string
	path string
	// meeting is nil for the kernel's locks and sockets.
	meeting Meeting
}

// Open returns the folder of the unit whose runners' names start with prefix,
// and makes it, with mode 0700, where it is missing. The root is put before
// /var: it is empty or an absolute path.
//
// A folder that is a symbolic link or belongs to another user is refused:
// somebody else could read the secrets in it.
func Open(root, prefix string) (*Dir, error) {
	d, err := locate(root, prefix)
	if err != nil {
		return nil, err
	}
	err = d.make()
	if errors.Is(err, fs.ErrNotExist) {
		// The last of the other units took the folder of units with it.
		err = d.make()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the unit's folder: %w", err)
	}
	return d, nil
}

// Find returns the folder of a unit as Open does, but makes none: without one the
// error is ErrRemoved.
func Find(root, prefix string) (*Dir, error) {
	d, err := locate(root, prefix)
	if err != nil {
		return nil, err
	}
	err = checkOurs(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrRemoved
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the unit's folder %s: %w", d.path, err)
	}
	return d, nil
}

// locate says where a unit's folder is.
func locate(root, prefix string) (*Dir, error) {
	if root != "" && !filepath.IsAbs(root) {
		return nil, fmt.Errorf("cannot open the unit's folder: the root %q is not an absolute path", root)
	}
	if err := checkElement(prefix); err != nil {
		return nil, fmt.Errorf("cannot open the unit's folder: %w", err)
	}
	return &Dir{root: root, path: filepath.Join("/", root, unitsPath, prefix)}, nil
}

func (d *Dir) make() error {
	if err := os.MkdirAll(d.Units(), 0o755); err != nil {
		return err
	}
	if err := checkOurs(d.Units()); err != nil {
		return err
	}
	return makePrivate(d.path)
}

// Units is the folder that the machine's units share. It is there as long as one of
// them has its own.
func (d *Dir) Units() string {
	return filepath.Dir(d.path)
}

// Path returns the path of something in the unit's folder.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Remove removes the unit's folder with all that is in it, and the machine's
// folder of units with the last of them; nil when it is already gone. The logs
// of runners stay.
func (d *Dir) Remove() error {
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("cannot remove the unit's folder: %w", err)
	}
	err := os.Remove(d.Units())
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("cannot remove the folder of units: %w", err)
	}
	return nil
}

// makePrivate makes a folder that only we can enter, or makes sure that it is
// one.
func makePrivate(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := checkOurs(path); err != nil {
		return err
	}
	return os.Chmod(path, 0o700)
}

// checkOurs refuses what is no directory, or that of another user.
func checkOurs(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory but %s: remove it or move it away", path, kind(info.Mode()))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, not to %d: remove it or give it back", path, stat.Uid, os.Geteuid())
	}
	return nil
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsRegular():
		return "a file"
	default:
		return "a special file"
	}
}

// checkElement refuses what would not be exactly one name in a folder.
func checkElement(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q cannot be the name of a folder", name)
	}
	return nil
}
