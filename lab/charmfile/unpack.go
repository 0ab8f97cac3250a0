package charmfile

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Bounds of what Unpack takes: a charm is far below them.
const (
	maxEntries = 10_000
	maxSize    = 1 << 30
	maxTarget  = 4096
)

// Unpack unpacks a .charm file into dir, which it makes where it is missing, by
// the rules of Juju's agent: permission bits as packed, hooks made executable,
// links kept as links. Files that are there already are replaced, never written
// into, so that a program that runs keeps running.
//
// An entry or link that leads out of dir, is no plain file, folder or link, or
// is larger than any charm is an error; some of the others may be unpacked then.
func Unpack(zipPath, dir string) error {
	archive, err := zip.OpenReader(zipPath)
	if err != nil {
		return fmt.Errorf("cannot unpack %s: %w", zipPath, err)
	}
	defer archive.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot unpack %s: %w", zipPath, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot unpack %s: %w", zipPath, err)
	}
	defer root.Close()
	if len(archive.File) > maxEntries {
		return fmt.Errorf("cannot unpack %s: it has %d entries, at most %d are allowed", zipPath, len(archive.File), maxEntries)
	}
	u := unpacker{root: root, left: maxSize}
	for _, file := range archive.File {
		if err := u.entry(file); err != nil {
			return fmt.Errorf("cannot unpack %q from %s: %w", file.Name, zipPath, err)
		}
	}
	return nil
}

// unpacker writes below root only: what follows a link out of it fails.
type unpacker struct {
	root *os.Root
	// left is how many bytes may still be written.
	left int64
}

var errOutside = errors.New("it leads out of the charm")

func (u *unpacker) entry(file *zip.File) error {
	name := path.Clean(file.Name)
	if path.IsAbs(name) || isOutside(name) || strings.Contains(name, `\`) {
		return errOutside
	}
	if name == "." {
		return nil
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	mode := file.Mode()
	switch mode.Type() {
	case fs.ModeDir:
		return u.root.MkdirAll(name, mode.Perm()|0o700)
	case fs.ModeSymlink:
		return u.link(name, file)
	case 0:
		return u.file(name, file)
	}
	return fmt.Errorf("its type %s is not allowed", mode.Type())
}

func isOutside(name string) bool {
	return name == ".." || strings.HasPrefix(name, "../")
}

func (u *unpacker) link(name string, file *zip.File) error {
	content, err := file.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	target, err := io.ReadAll(io.LimitReader(content, maxTarget+1))
	if err != nil {
		return err
	}
	if len(target) == 0 || len(target) > maxTarget {
		return errors.New("its target has an impossible length")
	}
	to := string(target)
	if path.IsAbs(to) || isOutside(path.Join(path.Dir(name), to)) {
		return errOutside
	}
	if err := u.clear(name); err != nil {
		return err
	}
	return u.root.Symlink(to, name)
}

func (u *unpacker) file(name string, file *zip.File) error {
	content, err := file.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	if err := u.clear(name); err != nil {
		return err
	}
	perm := file.Mode().Perm()
	if path.Dir(name) == "hooks" {
		perm |= 0o100
	}
	to, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	written, err := io.Copy(to, io.LimitReader(content, u.left+1))
	u.left -= written
	if err == nil && u.left < 0 {
		err = errors.New("the charm is too large")
	}
	if err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

// clear makes room for a file or link; a folder with something in it stays, and
// is an error.
func (u *unpacker) clear(name string) error {
	err := u.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
