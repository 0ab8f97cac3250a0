package lxd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errNoFolder is the error of watching a folder that is not there.
var errNoFolder = errors.New("no such folder")

// folderWatcher tells when one of the known files appears in a runner's folder.
type folderWatcher struct {
	file    *os.File
	changed chan struct{}
}

// newFolderWatcher watches nothing yet. It ends with ctx, and changed is closed
// then.
func newFolderWatcher(ctx context.Context) (*folderWatcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the runners' files: %w", err)
	}
	watcher := &folderWatcher{file: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1)}
	context.AfterFunc(ctx, func() { watcher.file.Close() })
	go watcher.run()
	return watcher, nil
}

// add watches one more folder.
func (w *folderWatcher) add(folder string) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", folder, err)
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		const mask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_UNMOUNT | unix.IN_ONLYDIR
		_, failure = unix.InotifyAddWatch(int(fd), folder, mask)
	})
	if errors.Is(failure, unix.ENOENT) {
		return fmt.Errorf("cannot watch %s: %w", folder, errNoFolder)
	}
	if err := errors.Join(err, failure); err != nil {
		return fmt.Errorf("cannot watch %s: %w", folder, err)
	}
	return nil
}

func (w *folderWatcher) run() {
	defer close(w.changed)
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return
		}
		if matters(buffer[:n]) {
			notify(w.changed)
		}
	}
}

// matters reports whether any of the kernel's messages is about a file that the
// manager reads, or about the folder itself: a job may make any other file as
// often as it likes.
func matters(messages []byte) bool {
	for len(messages) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(messages[4:])
		length := int(binary.NativeEndian.Uint32(messages[12:]))
		end := unix.SizeofInotifyEvent + length
		if end > len(messages) {
			return true
		}
		name := bytes.TrimRight(messages[unix.SizeofInotifyEvent:end], "\x00")
		if knownFiles[string(name)] || mask&(unix.IN_DELETE_SELF|unix.IN_UNMOUNT|unix.IN_Q_OVERFLOW) != 0 {
			return true
		}
		messages = messages[end:]
	}
	return false
}
