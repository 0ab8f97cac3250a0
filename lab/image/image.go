// Package image builds the image that the lab's containers start from, once per
// machine.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github-runner/lab/flock"
)

// DefaultCache is where built images are kept for all labs of a machine.
const DefaultCache = "/var/cache/github-runner-lab"

// DefaultMirror is where Debian's packages come from.
const DefaultMirror = "http://deb.debian.org/debian"

const buildTimeout = 15 * time.Minute

//go:embed recipe.sh
var recipe []byte

// Image is a built image: the two files of a split LXD image.
type Image struct {
	// Metadata is a gzipped tar file with metadata.yaml.
	Metadata string
	// Rootfs is the root file system as a squashfs.
	Rootfs string
}

// Builder builds images.
type Builder struct {
	// Cache is the directory that keeps images, one folder per recipe.
	Cache string
	// Mirror is the URL of a Debian mirror.
	Mirror string
	// Progress is called with what is being done, before it is done; may be nil.
	Progress func(text string)
}

// Tools are the programs that Build needs beside a shell.
func Tools() []string {
	return []string{"debootstrap", "mksquashfs", "unshare", "chroot"}
}

// Cached returns the image if it has been built before.
func (b Builder) Cached() (Image, bool) {
	image := b.image()
	for _, path := range []string{image.Metadata, image.Rootfs} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return Image{}, false
		}
	}
	return image, true
}

// Build returns the image, which it builds when it is not in the cache. It
// needs root and a Debian mirror; one build at a time runs on a machine.
func (b Builder) Build(ctx context.Context) (Image, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return Image{}, fmt.Errorf("cannot build the image: %w", err)
	}
	unlock, err := flock.Take(ctx, b.Cache, func() {
		b.report("waiting for another build of the image")
	})
	if err != nil {
		return Image{}, fmt.Errorf("cannot build the image: %w", err)
	}
	defer unlock()
	if image, ok := b.Cached(); ok {
		return image, nil
	}
	// Under the lock nobody else builds: these are of builds that were killed.
	if err := removeAll(filepath.Join(b.Cache, "build-*")); err != nil {
		return Image{}, fmt.Errorf("cannot remove an unfinished build: %w", err)
	}
	if err := b.build(ctx); err != nil {
		return Image{}, fmt.Errorf("cannot build the image: %w", err)
	}
	return b.image(), nil
}

func (b Builder) build(ctx context.Context) (err error) {
	work, err := os.MkdirTemp(b.Cache, "build-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	script := filepath.Join(work, "recipe.sh")
	if err := os.WriteFile(script, recipe, 0o700); err != nil {
		return err
	}
	rootfs := filepath.Join(work, "rootfs")
	// Not in the work folder, which a failure removes.
	log := filepath.Join(b.Cache, "last.log")
	b.report("building an image from " + b.Mirror + ", once on this machine (about a minute and a half)")
	// The recipe mounts; in a namespace of its own nothing of that can be left.
	if err := run(ctx, log, "unshare", "--mount", "--propagation", "private", "sh", script, rootfs, b.Mirror); err != nil {
		return err
	}

	done := filepath.Join(work, "done")
	if err := os.Mkdir(done, 0o755); err != nil {
		return err
	}
	if err := run(ctx, log, "mksquashfs", rootfs, filepath.Join(done, "rootfs.squashfs"),
		"-noappend", "-comp", "zstd", "-Xcompression-level", "3", "-quiet", "-no-progress"); err != nil {
		return err
	}
	metadata, err := metadataTar(time.Now())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(done, "metadata.tar.gz"), metadata, 0o644); err != nil {
		return err
	}
	return os.Rename(done, b.folder())
}

// folder is named for everything that the image is made from but the mirror.
func (b Builder) folder() string {
	sum := sha256.Sum256(append([]byte(runtime.GOARCH+"\n"), recipe...))
	return filepath.Join(b.Cache, hex.EncodeToString(sum[:])[:16])
}

func (b Builder) image() Image {
	folder := b.folder()
	return Image{
		Metadata: filepath.Join(folder, "metadata.tar.gz"),
		Rootfs:   filepath.Join(folder, "rootfs.squashfs"),
	}
}

func (b Builder) report(text string) {
	if b.Progress != nil {
		b.Progress(text)
	}
}

// metadataTar returns the part of an LXD image that describes it.
func metadataTar(created time.Time) ([]byte, error) {
	architecture := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	if architecture == "" {
		return nil, fmt.Errorf("cannot make an image for %s: only amd64 and arm64 are known", runtime.GOARCH)
	}
	text := fmt.Sprintf("architecture: %s\ncreation_date: %d\n"+
		"properties: {os: debian, release: bookworm, description: runner image of the lab}\ntemplates: {}\n",
		architecture, created.Unix())
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	header := &tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(text)), ModTime: created}
	if err := archive.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := archive.Write([]byte(text)); err != nil {
		return nil, err
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// run runs a command whose output goes to a log; its error has the log's end.
func run(ctx context.Context, log string, argv ...string) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout = file
	cmd.Stderr = file
	// The whole group goes when ctx ends: the recipe starts many programs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot run %s: %w: %s (all of it in %s)", argv[0], err, lastLines(log), log)
	}
	return nil
}

func lastLines(path string) string {
	const most = 3
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], " | ")
}

func removeAll(pattern string) error {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
