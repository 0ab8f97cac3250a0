package lxd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// errNoFolder is the error of watching a folder that is not there.
var errNoFolder = errors.New("no such folder")

// lookAgain is how long what can't be watched is left before it is looked at
// again.
const lookAgain = time.Second

// folderWatcher tells when one of the known files appears in a runner's folder.
// The kernel allows few watchers to a user: what it refuses to watch is looked at
// again and again instead.
type folderWatcher struct {
	known   files
	file    *os.File // nil where the kernel refused
	changed chan struct{}

	mu sync.Mutex
	// unwatched are the folders that are looked at, as they were last.
	unwatched map[string]files
}

// newFolderWatcher watches nothing yet. It ends with ctx; changed is never closed.
func newFolderWatcher(ctx context.Context, known files) *folderWatcher {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	watcher := newFolderPoller(ctx, known)
	if err != nil {
		return watcher
	}
	watcher.file = os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(ctx, func() { watcher.file.Close() })
	go watcher.run()
	return watcher
}

// newFolderPoller is a watcher without the kernel's help.
func newFolderPoller(ctx context.Context, known files) *folderWatcher {
	watcher := &folderWatcher{known: known, changed: make(chan struct{}, 1), unwatched: map[string]files{}}
	go watcher.poll(ctx)
	return watcher
}

// add watches one more folder, which must exist.
func (w *folderWatcher) add(folder string) error {
	if w.file != nil {
		err := w.addToKernel(folder)
		if err == nil || errors.Is(err, errNoFolder) {
			return err
		}
	}
	if _, err := os.Lstat(folder); err != nil {
		return fmt.Errorf("cannot watch %s: %w", folder, errNoFolder)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.unwatched[folder]; !known {
		w.unwatched[folder] = w.filesIn(folder)
	}
	return nil
}

// filesIn is a folder's list; one that can't be read shows when it can be again.
func (w *folderWatcher) filesIn(folder string) files {
	found, _ := exchange{root: filepath.Dir(folder), name: filepath.Base(folder)}.among(w.known)
	return found
}

// poll looks at the unwatched folders until ctx ends.
func (w *folderWatcher) poll(ctx context.Context) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.look()
		}
	}
}

// look tells of folders that changed, and forgets those that are gone.
func (w *folderWatcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for folder, before := range w.unwatched {
		now := w.filesIn(folder)
		if _, err := os.Lstat(folder); errors.Is(err, fs.ErrNotExist) {
			delete(w.unwatched, folder)
			notify(w.changed)
		} else if !maps.Equal(now, before) {
			w.unwatched[folder] = now
			notify(w.changed)
		}
	}
}

func (w *folderWatcher) addToKernel(folder string) error {
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
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return
		}
		if matters(buffer[:n], w.known) {
			notify(w.changed)
		}
	}
}

// matters reports whether any of the kernel's messages is about a file that the
// manager reads, or about the folder itself: a job may make any other file as
// often as it likes.
func matters(messages []byte, known files) bool {
	for len(messages) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(messages[4:])
		length := int(binary.NativeEndian.Uint32(messages[12:]))
		end := unix.SizeofInotifyEvent + length
		if end > len(messages) {
			return true
		}
		name := bytes.TrimRight(messages[unix.SizeofInotifyEvent:end], "\x00")
		if known[string(name)] || mask&(unix.IN_DELETE_SELF|unix.IN_UNMOUNT|unix.IN_Q_OVERFLOW) != 0 {
			return true
		}
		messages = messages[end:]
	}
	return false
}
