package image

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github-runner/lab/flock"
)

//go:embed server.sh
var serverRecipe []byte

// ServerImage is what an OpenStack server boots from: a disk without partitions, and
// a kernel with its RAM disk, which QEMU loads by itself.
type ServerImage struct {
	// Disk is a qcow2 image of an ext4 file system.
	Disk string
	// Kernel and Initrd are the kernel and its RAM disk.
	Kernel, Initrd string
}

// ServerTools are the programs that BuildServer needs beside those of Build.
func ServerTools() []string {
	return []string{"unsquashfs", "mke2fs", "qemu-img"}
}

// CachedServer returns the image of servers if it has been built before.
func (b Builder) CachedServer() (ServerImage, bool) {
	image := b.serverImage()
	for _, path := range []string{image.Disk, image.Kernel, image.Initrd} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return ServerImage{}, false
		}
	}
	return image, true
}

// BuildServer returns the image of servers: the image of containers with a kernel and
// an SSH server. It builds what is not in the cache.
func (b Builder) BuildServer(ctx context.Context) (ServerImage, error) {
	base, err := b.Build(ctx)
	if err != nil {
		return ServerImage{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	unlock, err := flock.Take(ctx, b.Cache, func() {
		b.report("waiting for another build of the image")
	})
	if err != nil {
		return ServerImage{}, fmt.Errorf("cannot build the image of servers: %w", err)
	}
	defer unlock()
	if image, ok := b.CachedServer(); ok {
		return image, nil
	}
	for _, tool := range ServerTools() {
		if _, err := exec.LookPath(tool); err != nil {
			return ServerImage{}, fmt.Errorf("cannot build the image of servers: %w", err)
		}
	}
	if err := b.buildServer(ctx, base); err != nil {
		return ServerImage{}, fmt.Errorf("cannot build the image of servers: %w", err)
	}
	return b.serverImage(), nil
}

func (b Builder) buildServer(ctx context.Context, base Image) (err error) {
	work, err := os.MkdirTemp(b.Cache, "build-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	script := filepath.Join(work, "server.sh")
	if err := os.WriteFile(script, serverRecipe, 0o700); err != nil {
		return err
	}
	b.report("building an image for servers, once on this machine (about a minute)")
	log := filepath.Join(b.Cache, "last.log")
	if err := run(ctx, log, "unshare", "--mount", "--propagation", "private", "sh", script, base.Rootfs, work); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "done"), b.serverFolder())
}

// serverFolder is named for all that the image is made from.
func (b Builder) serverFolder() string {
	sum := sha256.Sum256(serverRecipe)
	return b.folder() + "-server-" + hex.EncodeToString(sum[:4])
}

func (b Builder) serverImage() ServerImage {
	folder := b.serverFolder()
	return ServerImage{
		Disk:   filepath.Join(folder, "disk.qcow2"),
		Kernel: filepath.Join(folder, "vmlinuz"),
		Initrd: filepath.Join(folder, "initrd.img"),
	}
}
