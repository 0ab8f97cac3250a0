package lxd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

func leave(t *testing.T, folder, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The kernel allows a user few watchers: runners beyond them are looked at.
func TestFoldersAreSeenWithoutTheKernelsHelp(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watcher := newFolderPoller(ctx, runnerFiles)
		if err := watcher.add(folder); err != nil {
			t.Fatal(err)
		}
		if err := watcher.add(filepath.Join(folder, "gone")); !errors.Is(err, errNoFolder) {
			t.Errorf("a folder that is not there: %v", err)
		}
		quiet := func() bool {
			time.Sleep(10 * lookAgain)
			synctest.Wait()
			select {
			case <-watcher.changed:
				return false
			default:
				return true
			}
		}
		leave(t, folder, "anything")
		if !quiet() {
			t.Error("a file that nobody knows was told of")
		}
		leave(t, folder, cloudinit.PreJobDoneFile)
		if err := watcher.add(folder); err != nil {
			t.Fatal(err)
		}
		if quiet() {
			t.Error("a new file was not told of")
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		if quiet() {
			t.Error("the end of the folder was not told of")
		}
	})
}

// A daemon that restarts meanwhile must not let a job begin before its script
// has ended.
func TestPreJobDoneOutlivesTheDaemon(t *testing.T) {
	cloud, server, control := emulatedCloud(t, nil)
	name := cloud.config.Owner.NewName()
	folder := cloud.exchange(name).path()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Fatal(err)
	}
	request := api.InstancesPost{Name: name, Type: Container, Source: api.InstanceSource{Type: "image", Alias: "noble"}, InstancePut: api.InstancePut{Profiles: []string{cloud.profileName(false)}}}
	if err := server.change("POST", "/instances", request, ""); err != nil {
		t.Fatal(err)
	}
	if err := server.power(name, "start"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- cloud.PreJobDone(ctx, name) }()
	for range 2 {
		if err := control.Restart(ctx, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("it ended with the daemon: %v", err)
		case <-time.After(lookAgain / 4):
		}
	}
	leave(t, folder, cloudinit.PreJobDoneFile)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
