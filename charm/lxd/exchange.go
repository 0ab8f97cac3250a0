package lxd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github-runner/charm/cloudinit"
	"github-runner/charm/mounts"
)

// Bounds of what is read from a runner.
const (
	maxMetricsFile = 1 << 10
	maxDiagFile    = 256 << 10
)

// exchange is one runner's folder, as the host sees it. Everything in it was
// written by a guest.
type exchange struct {
	root string
	name string
}

func (c *Cloud) exchange(name string) exchange {
	return exchange{root: c.config.ExchangeDir, name: name}
}

func (e exchange) path() string {
	return filepath.Join(e.root, e.name)
}

// device is the folder as a device of its machine.
func (e exchange) device() map[string]string {
	return map[string]string{"type": "disk", "source": e.path(), "path": cloudinit.ExchangeDir}
}

// exchangeOptions bound what a guest can do to the host's memory.
const exchangeOptions = "size=1m,nr_inodes=64,mode=1777"

// make makes the folder. It is a tmpfs where this process may mount one;
// otherwise a plain folder, which plain reports.
func (e exchange) make() (plain bool, err error) {
	if err := os.MkdirAll(e.root, 0o700); err != nil {
		return false, fmt.Errorf("cannot make the folder for exchange with runners: %w", err)
	}
	if err := os.Mkdir(e.path(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("cannot make the exchange folder of %s: %w", e.name, err)
	}
	mounted, err := mounts.On(e.path())
	if err != nil || mounted {
		return false, err
	}
	err = unix.Mount("github-runner", e.path(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, exchangeOptions)
	if errors.Is(err, fs.ErrPermission) {
		return true, os.Chmod(e.path(), 0o777|fs.ModeSticky)
	}
	if err != nil {
		return false, fmt.Errorf("cannot mount the exchange folder of %s: %w", e.name, err)
	}
	return false, nil
}

// renew makes the folder, or makes it empty; it is there all the while.
func (e exchange) renew() (plain bool, err error) {
	if err := mounts.Detach(e.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot empty the exchange folder of %s: %w", e.name, err)
	}
	left, err := os.ReadDir(e.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot empty the exchange folder of %s: %w", e.name, err)
	}
	for _, entry := range left {
		if err := os.RemoveAll(filepath.Join(e.path(), entry.Name())); err != nil {
			return false, fmt.Errorf("cannot empty the exchange folder of %s: %w", e.name, err)
		}
	}
	return e.make()
}

// remove unmounts the folder and removes what is in it; nil when there is none.
func (e exchange) remove() error {
	err := mounts.Detach(e.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove the exchange folder of %s: %w", e.name, err)
	}
	if err := os.RemoveAll(e.path()); err != nil {
		return fmt.Errorf("cannot remove the exchange folder of %s: %w", e.name, err)
	}
	return nil
}

// files are the regular files of the folder that the manager knows, by name.
type files map[string]bool

// list reports which of a runner's files are there. A folder that is gone has
// none; with an error there may be more than those found.
func (e exchange) list() (files, error) {
	return e.among(runnerFiles)
}

// among is list for other files.
func (e exchange) among(known files) (files, error) {
	found := files{}
	root, err := os.OpenRoot(e.path())
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("cannot look for the files of %s: %w", e.name, err)
	}
	defer root.Close()
	var failure error
	for name := range known {
		info, err := root.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failure = fmt.Errorf("cannot look for the files of %s: %w", e.name, err)
		}
		found[name] = err == nil && info.Mode().IsRegular()
	}
	return found, failure
}

// runnerFiles are all that a runner is expected to leave.
var runnerFiles = files{
	cloudinit.PreJobMetricsFile:  true,
	cloudinit.PreJobDoneFile:     true,
	cloudinit.PostJobMetricsFile: true,
	cloudinit.RunCompletedFile:   true,
	cloudinit.DiagFile:           true,
}

// errTooLarge is the error of a file that is larger than its bound.
var errTooLarge = errors.New("too large")

// open opens a regular file. It never blocks and never leaves the folder,
// whatever lies under the name.
func (e exchange) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(e.path())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// read returns the content of a file of at most limit bytes.
func (e exchange) read(name string, limit int64) ([]byte, error) {
	file, err := e.open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read what %s left: %w", e.name, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read what %s left: %w", e.name, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("cannot read what %s left: %s is %w: it has more than %d bytes", e.name, name, errTooLarge, limit)
	}
	return content, nil
}

// readEnd returns the last bytes of a file, at most limit of them.
func (e exchange) readEnd(name string, limit int) ([]byte, error) {
	file, err := e.open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read what %s left: %w", e.name, err)
	}
	defer file.Close()
	content, err := tail(file, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read what %s left: %w", e.name, err)
	}
	return content, nil
}

// traces returns the names of all exchange folders that are there.
func (c *Cloud) traces() ([]string, error) {
	entries, err := os.ReadDir(c.config.ExchangeDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the exchange folders: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if c.config.Owner.Owns(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
