package qemu

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// stopDeadline is how long the daemon is given to end.
const stopDeadline = 20 * time.Second

// Daemon is a real LXD daemon that takes orders for virtual machines.
type Daemon struct {
	// Dir is its LXD_DIR.
	Dir string
	// Programs is where it finds QEMU's programs.
	Programs string

	command *exec.Cmd
	ended   chan error
}

// Start starts a daemon in a folder that is empty or missing. The calling
// program must let Play have every call of itself. It needs root, LXD's Debian
// package and /dev/vsock; Obstacle says what is missing.
func Start(ctx context.Context, dir string) (*Daemon, error) {
	programs, firmware, devices := filepath.Join(dir, "bin"), filepath.Join(dir, "firmware"), filepath.Join(dir, "dev")
	if err := errors.Join(placePrograms(programs), placeEmpty(firmware, firmwareFiles), placeEmpty(devices, deviceFiles)); err != nil {
		return nil, fmt.Errorf("cannot start an LXD that knows virtual machines: %w", err)
	}
	d := &Daemon{Dir: filepath.Join(dir, "lxd"), Programs: programs, ended: make(chan error, 1)}
	log, err := os.Create(filepath.Join(dir, "lxd.log"))
	if err != nil {
		return nil, fmt.Errorf("cannot start an LXD that knows virtual machines: %w", err)
	}
	defer log.Close()
	d.command = exec.Command("sh", "-c", withDevices, "sh", devices, "lxd", "--group", "root")
	d.command.Env = append(os.Environ(), "LXD_DIR="+d.Dir, "LXD_OVMF_PATH="+firmware, "PATH="+programs+":"+os.Getenv("PATH"))
	d.command.Stdout, d.command.Stderr = log, log
	// Its mounts go with it.
	d.command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	err = os.MkdirAll(d.Dir, 0o711)
	if err == nil {
		err = d.command.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start an LXD that knows virtual machines: %w", err)
	}
	go func() { d.ended <- d.command.Wait() }()
	if err := d.waitReady(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("cannot start an LXD that knows virtual machines: %w: %s", err, bytes.TrimSpace(text)), d.Stop())
	}
	return d, nil
}

// Obstacle says why Start can't work here; "" when it can.
func Obstacle() string {
	if os.Geteuid() != 0 {
		return "it needs root"
	}
	path, err := exec.LookPath("lxd")
	if err != nil || strings.HasPrefix(path, "/snap/") {
		return "it needs LXD's Debian package"
	}
	if _, err := os.Stat("/dev/vsock"); err != nil {
		return "there is no /dev/vsock"
	}
	return ""
}

// Socket is where its API answers.
func (d *Daemon) Socket() string { return filepath.Join(d.Dir, "unix.socket") }

func (d *Daemon) waitReady(ctx context.Context) error {
	ready := exec.CommandContext(ctx, "lxd", "waitready", "--timeout=30")
	ready.Env = append(os.Environ(), "LXD_DIR="+d.Dir)
	if output, err := ready.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
	}
	server, err := lxd.ConnectLXDUnixWithContext(ctx, d.Socket(), nil)
	if err != nil {
		return err
	}
	defer server.Disconnect()
	info, _, err := server.GetServer()
	if err != nil {
		return err
	}
	if !strings.Contains(info.Environment.Driver, "qemu") {
		return fmt.Errorf("it has the drivers %q only", info.Environment.Driver)
	}
	return nil
}

// Stop ends the daemon. What it holds that outlives a daemon, networks above all,
// must have been removed before.
func (d *Daemon) Stop() error {
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot end LXD: %w", err)
	}
	select {
	case <-d.ended:
	case <-time.After(stopDeadline):
		if err := d.command.Process.Kill(); err != nil {
			return fmt.Errorf("cannot end LXD: %w", err)
		}
		<-d.ended
	}
	return nil
}

// AddImage imports an image of a virtual machine that boots nothing.
func (d *Daemon) AddImage(ctx context.Context, aliases ...string) error {
	metadata, err := imageMetadata()
	if err != nil {
		return err
	}
	server, err := lxd.ConnectLXDUnixWithContext(ctx, d.Socket(), nil)
	if err != nil {
		return fmt.Errorf("cannot import an image: %w", err)
	}
	defer server.Disconnect()
	operation, err := server.CreateImage(api.ImagesPost{}, &lxd.ImageCreateArgs{
		MetaFile: bytes.NewReader(metadata), MetaName: "metadata.tar",
		RootfsFile: strings.NewReader("QFI\xfb"), RootfsName: "disk.qcow2",
		Type: "virtual-machine",
	})
	if err != nil {
		return fmt.Errorf("cannot import an image: %w", err)
	}
	if err := operation.WaitContext(ctx); err != nil {
		return fmt.Errorf("cannot import an image: %w", err)
	}
	fingerprint, _ := operation.Get().Metadata["fingerprint"].(string)
	for _, alias := range aliases {
		post := api.ImageAliasesPost{}
		post.Name, post.Target = alias, fingerprint
		if err := server.CreateImageAlias(post); err != nil {
			return fmt.Errorf("cannot name the image %s: %w", alias, err)
		}
	}
	return nil
}

func imageMetadata() ([]byte, error) {
	architecture := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	text := "architecture: " + architecture + "\ncreation_date: 1\nproperties: {os: none}\n"
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return nil, err
	}
	err := w.Close()
	return archive.Bytes(), err
}

// placePrograms makes names by which LXD calls the calling program, and scripts.
func placePrograms(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range systems {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// firmwareFiles are those that LXD looks for beside QEMU.
var firmwareFiles = []string{"OVMF_CODE.fd", "OVMF_VARS.fd", "OVMF_VARS.ms.fd", "OVMF_VARS.snakeoil.fd"}

// deviceFiles are the devices that LXD looks for and nothing here opens. It
// listens at /dev/vsock, which must be a real one.
var deviceFiles = []string{"kvm"}

// withDevices runs a command for which the files of a folder are in /dev, too,
// where the machine does not have them. The mount is seen in the command's own
// mount namespace alone.
const withDevices = `devices=$1
shift
[ -e /dev/kvm ] || mount -t overlay -o "lowerdir=$devices:/dev" devices /dev || exit
exec "$@"
`

// placeEmpty makes files of which only the names matter.
func placeEmpty(dir string, names []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}
