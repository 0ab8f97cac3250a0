package lxd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	unwatched map[string]glance
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
	watcher := &folderWatcher{known: known, changed: make(chan struct{}, 1), unwatched: map[string]glance{}}
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
	w.mu.Lock()
	defer w.mu.Unlock()
	before, known := w.unwatched[folder]
	now, gone := w.glanceAt(folder, before)
	if gone {
		return fmt.Errorf("cannot watch %s: %w", folder, errNoFolder)
	}
	if !known {
		w.unwatched[folder] = now
	}
	return nil
}

// glance is what was seen of an unwatched folder.
type glance struct {
	found files
	// changed is when the kernel last changed the folder, which no job can forge as
	// it can the time of its last modification.
	changed unix.Timespec
	// certain says that whatever changes the folder later shows in changed.
	certain bool
}

// clockStep is more than the step in which the kernel's clock for files advances, at
// most 10 ms: what happens within one bears one time.
const clockStep = 20 * time.Millisecond

// glanceAt looks at a folder, which may not be what before shows; gone when there is
// none. One that can't be read shows when it can be again.
func (w *folderWatcher) glanceAt(folder string, before glance) (now glance, gone bool) {
	var clock unix.Timespec
	clockErr := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &clock)
	var stat unix.Stat_t
	statErr := unix.Lstat(folder, &stat)
	if errors.Is(statErr, unix.ENOENT) {
		return glance{}, true
	}
	if statErr == nil && before.certain && stat.Ctim == before.changed {
		return before, false
	}
	var err error
	now.found, err = exchange{root: filepath.Dir(folder), name: filepath.Base(folder)}.among(w.known)
	now.changed = stat.Ctim
	now.certain = err == nil && clockErr == nil && statErr == nil && stat.Ctim.Nano()+int64(clockStep) < clock.Nano()
	return now, false
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
		now, gone := w.glanceAt(folder, before)
		if gone {
			delete(w.unwatched, folder)
			notify(w.changed)
			continue
		}
		w.unwatched[folder] = now
		if !maps.Equal(now.found, before.found) {
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
