package lxd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github-runner/charm/cloudinit"
)

// A glance at a folder that has not changed costs one call. A job, which may set the
// time of a folder's last modification to what it was, hides nothing by that.
func TestGlanceAtUnwatchedFolder(t *testing.T) {
	folder := t.TempDir()
	watcher := &folderWatcher{known: runnerFiles}
	past := time.Now().Add(-time.Hour)
	var seen glance
	// The kernel's clock for files goes on in steps.
	for !seen.certain {
		var gone bool
		if seen, gone = watcher.glanceAt(folder, glance{}); gone {
			t.Fatal("a folder that is there is said to be gone")
		}
	}
	if again, _ := watcher.glanceAt(folder, seen); again.changed != seen.changed || !again.certain {
		t.Errorf("a folder that has not changed: got %+v after %+v", again, seen)
	}
	if seen.found[cloudinit.PreJobDoneFile] {
		t.Error("a file is found that is not there")
	}

	leave(t, folder, cloudinit.PreJobDoneFile)
	if err := os.Chtimes(folder, past, past); err != nil {
		t.Fatal(err)
	}
	now, _ := watcher.glanceAt(folder, seen)
	if !now.found[cloudinit.PreJobDoneFile] {
		t.Error("a new file is not found")
	}
	// Another one may still come in the same step of the kernel's clock.
	leave(t, folder, cloudinit.RunCompletedFile)
	if next, _ := watcher.glanceAt(folder, now); !next.found[cloudinit.RunCompletedFile] {
		t.Error("a file that came right after another is not found")
	}

	// What can't be read as a folder, such as this program, is read again each time.
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if unreadable, gone := watcher.glanceAt(program, glance{}); gone || unreadable.certain {
		t.Errorf("what can't be read: got %+v, gone %v", unreadable, gone)
	}

	if _, gone := watcher.glanceAt(filepath.Join(folder, "none"), glance{}); !gone {
		t.Error("a folder that is not there is not said to be gone")
	}
}
