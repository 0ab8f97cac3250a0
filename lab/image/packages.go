package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github-runner/lab/flock"
)

// keyring is what the packages of Debian are checked by.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Packages returns the files of Debian packages and of all that they need beyond
// the image, which must have been built. They are downloaded once per machine.
func (b Builder) Packages(ctx context.Context, names ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	unlock, err := flock.Take(ctx, b.Cache, func() {
		b.report("waiting for another download of packages")
	})
	if err != nil {
		return nil, fmt.Errorf("cannot download packages: %w", err)
	}
	defer unlock()
	folder := b.packageFolder(names)
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		if err := b.download(ctx, folder, names); err != nil {
			return nil, fmt.Errorf("cannot download the packages %s: %w", strings.Join(names, ", "), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("cannot download the packages %s: none are in %s: %w", strings.Join(names, ", "), folder, err)
	}
	return files, nil
}

// packageFolder is named for the packages and the image that they are for.
func (b Builder) packageFolder(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(names)), "\n")))
	return b.folder() + "-packages-" + hex.EncodeToString(sum[:4])
}

// download lets apt work out what the image lacks, and fetch it.
func (b Builder) download(ctx context.Context, folder string, names []string) (err error) {
	work, err := os.MkdirTemp(b.Cache, "build-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for _, dir := range []string{"lists/partial", "archives/partial", "cache"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	status, err := exec.CommandContext(ctx, "unsquashfs", "-cat", b.image().Rootfs, "var/lib/dpkg/status").Output()
	if err != nil {
		return fmt.Errorf("cannot read what the image has: %w", err)
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s bookworm main\n", keyring, b.Mirror)
	err = errors.Join(
		os.WriteFile(filepath.Join(work, "status"), status, 0o644),
		os.WriteFile(filepath.Join(work, "sources.list"), []byte(source), 0o644),
	)
	if err != nil {
		return err
	}
	log := filepath.Join(b.Cache, "last.log")
	apt := []string{
		"apt-get", "--yes", "--no-install-recommends", "-o", "Dir::State=" + work, "-o", "Dir::State::status=" + work + "/status",
		"-o", "Dir::State::lists=" + work + "/lists", "-o", "Dir::Cache=" + work + "/cache", "-o", "Dir::Cache::archives=" + work + "/archives",
		"-o", "Dir::Etc::sourcelist=" + work + "/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
	}
	b.report("downloading " + strings.Join(names, ", ") + ", once on this machine")
	if err := run(ctx, log, append(apt, "update")...); err != nil {
		return err
	}
	if err := run(ctx, log, slices.Concat(apt, []string{"install", "--download-only"}, names)...); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "archives"), folder)
}
