package runnerapp

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed run.sh
var runScript []byte

// program is the package of the application's one program.
const program = "github-runner/lab/runnerapp/runner"

// FileName is the name of a packed application for "x64" or "arm64".
func FileName(arch string) string {
	return "actions-runner-linux-" + arch + "-" + Version + ".tar.gz"
}

// Pack builds the stand-in application for an architecture, "x64" or "arm64",
// and packs it into outDir. It returns the file and its SHA-256. The same
// sources and toolchain give the same bytes. It needs the Go toolchain, and has
// to run in the product's source tree.
func Pack(ctx context.Context, outDir, arch string) (path, sum string, err error) {
	goarch, ok := map[string]string{"x64": "amd64", "arm64": "arm64"}[arch]
	if !ok {
		return "", "", fmt.Errorf("cannot pack runner application: architecture %q is neither x64 nor arm64", arch)
	}
	work, err := os.MkdirTemp("", "runnerapp-")
	if err != nil {
		return "", "", fmt.Errorf("cannot pack runner application: %w", err)
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "runner")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", binary, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("cannot build runner application: %w: %s", err, strings.TrimSpace(string(out)))
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", "", fmt.Errorf("cannot pack runner application: %w", err)
	}
	packed, err := archive(content)
	if err != nil {
		return "", "", fmt.Errorf("cannot pack runner application: %w", err)
	}
	path = filepath.Join(outDir, FileName(arch))
	if err := replace(path, packed); err != nil {
		return "", "", fmt.Errorf("cannot pack runner application: %w", err)
	}
	digest := sha256.Sum256(packed)
	return path, hex.EncodeToString(digest[:]), nil
}

// archive packs the program under its two names.
func archive(content []byte) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	packed := tar.NewWriter(zipped)
	epoch := time.Unix(0, 0)
	for _, entry := range []struct {
		header tar.Header
		data   []byte
	}{
		{tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: epoch}, nil},
		{tar.Header{Name: "./bin/Runner.Listener", Typeflag: tar.TypeReg, Mode: 0o755, ModTime: epoch}, content},
		{tar.Header{Name: "./bin/Runner.Worker", Typeflag: tar.TypeLink, Linkname: "./bin/Runner.Listener", Mode: 0o755, ModTime: epoch}, nil},
		{tar.Header{Name: "./run.sh", Typeflag: tar.TypeReg, Mode: 0o755, ModTime: epoch}, runScript},
	} {
		entry.header.Size = int64(len(entry.data))
		if err := packed.WriteHeader(&entry.header); err != nil {
			return nil, err
		}
		if _, err := packed.Write(entry.data); err != nil {
			return nil, err
		}
	}
	for _, end := range []io.Closer{packed, zipped} {
		if err := end.Close(); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func replace(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".packing-")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(temporary.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
