package unitdir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// errNoFile is the error of something that stands where a file should.
var errNoFile = errors.New("no regular file")

// readFile reads a regular file of bounded size, and nothing else: a pipe
// would block for ever, a link would lead elsewhere.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errNoFile
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%w of a sane size: it has %d bytes, at most %d are expected", errNoFile, info.Size(), maxFile)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// ReplaceFile replaces a file that others keep for a unit, in one step and for good, as
// the unit's own are. Who dies meanwhile may leave the path with ".tmp" behind.
func ReplaceFile(path string, data []byte, mode os.FileMode) error {
	return writeFile(path, data, mode)
}

// writeFile replaces a file in one step: whoever dies meanwhile, and whether or
// not the machine loses its power, the file is the old or the new one. The
// temporary file has one fixed name, so that those who died leave no more than
// one behind; callers hold the unit's lock.
func writeFile(path string, data []byte, mode os.FileMode) error {
	temporary := path + ".tmp"
	if err := writeSynced(temporary, data, mode); err != nil {
		return errors.Join(err, removeFile(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, removeFile(temporary))
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, data []byte, mode os.FileMode) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, file.Close())
	}()
	if err := file.Chmod(mode); err != nil {
		return err
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Sync()
}

// removeFile removes what a failed write left. It is quiet about a temporary
// that is not there, or not ours to remove: the write's own error says enough.
func removeFile(path string) error {
	err := syscall.Unlink(path)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EPERM) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// syncDir makes a rename survive the loss of power.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
