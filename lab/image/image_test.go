package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tools puts programs of the test's own before the system's.
func tools(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestBuildOnceAndKeep(t *testing.T) {
	// The recipe is the fifth argument, its directory and mirror follow.
	tools(t, map[string]string{
		"unshare":    `mkdir "$6" && echo "$7" > "$6/mirror"`,
		"mksquashfs": `cp "$1/mirror" "$2"`,
	})
	b := Builder{Cache: filepath.Join(t.TempDir(), "cache"), Mirror: "http://mirror.example/debian"}
	if _, ok := b.Cached(); ok {
		t.Error("an image is cached before one was built")
	}
	built, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(built.Rootfs)
	if err != nil || string(content) != "http://mirror.example/debian\n" {
		t.Errorf("the file system holds %q, error %v", content, err)
	}

	tools(t, map[string]string{"unshare": "exit 1"})
	again, err := b.Build(t.Context())
	if err != nil || again != built {
		t.Errorf("the second build: %v, error %v; want the first one's image", again, err)
	}
	assertNoWork(t, b)
}

func TestBuildThatFails(t *testing.T) {
	tools(t, map[string]string{"unshare": `mkdir "$6"; echo no such mirror >&2; exit 7`})
	b := Builder{Cache: t.TempDir(), Mirror: "http://mirror.example/debian"}
	_, err := b.Build(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no such mirror") {
		t.Errorf("Build: %v, want what the tool said", err)
	}
	if _, ok := b.Cached(); ok {
		t.Error("a failed build is cached")
	}
	assertNoWork(t, b)
}

func TestBuildEndsWithItsContext(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	// What the recipe starts has to end as well, or it would hold the log.
	tools(t, map[string]string{"unshare": "echo > " + started + "; sleep 600 & wait"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if _, err := os.ReadFile(started); err != nil {
			t.Error(err)
		}
		cancel()
	}()
	b := Builder{Cache: t.TempDir()}
	began := time.Now()
	if _, err := b.Build(ctx); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a cancelled build: %v, want that it was killed", err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("a cancelled build took %s", took)
	}
	assertNoWork(t, b)
}

func TestBuildRemovesWhatAKilledOneLeft(t *testing.T) {
	tools(t, map[string]string{
		"unshare":    `mkdir "$6"`,
		"mksquashfs": `echo x > "$2"`,
	})
	b := Builder{Cache: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(b.Cache, "build-123", "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	assertNoWork(t, b)
}

func assertNoWork(t *testing.T, b Builder) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.Cache, "build-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the build left %v, error %v", left, err)
	}
}

func TestMetadata(t *testing.T) {
	packed, err := metadataTar(time.Unix(1700000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(unzipped)
	header, err := archive.Next()
	if err != nil || header.Name != "metadata.yaml" {
		t.Fatalf("the first file is %v, error %v", header, err)
	}
	text, err := io.ReadAll(archive)
	if err != nil || !strings.Contains(string(text), "creation_date: 1700000000\n") {
		t.Errorf("metadata.yaml holds %q, error %v", text, err)
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("there is more than metadata.yaml: %v", err)
	}
}
