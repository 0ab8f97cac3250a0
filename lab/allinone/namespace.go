package allinone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// runFolder is where programs look for the sockets of others.
const runFolder = "/run"

// Init is the first process of a PID namespace, and of a mount namespace that others
// don't see: it shows the namespace in /proc, runs a command and returns its exit
// status. Processes that have lost their parent become its children, and are laid to
// rest. When ctx ends the command is told to end.
func Init(ctx context.Context, argv ...string) (status int, err error) {
	if os.Getpid() != 1 {
		return 0, errors.New("cannot be the first process of a namespace: it has one")
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return 0, fmt.Errorf("cannot mount /proc: %w", err)
	}
	command, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	pid := command.Pid
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(pid, syscall.SIGTERM) })
	defer stop()
	for {
		var ended syscall.WaitStatus
		child, err := syscall.Wait4(-1, &ended, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("cannot wait for %s: %w", argv[0], err)
		case child == pid:
			return ended.ExitStatus(), nil
		}
	}
}

// mount lays empty folders over those of the machine that the stack writes to, where
// only the stack sees them.
func (s *Stack) mount() error {
	folders := []string{runFolder}
	if s.Guests == QEMU {
		folders = append(folders, libvirtSettings, "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
	}
	for _, folder := range folders {
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("cannot mount a folder over %s: %w", folder, err)
		}
	}
	if s.Guests != QEMU {
		return nil
	}
	text, err := templates.ReadFile("settings/qemu.conf")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(libvirtSettings, "qemu.conf"), text, 0o600)
}

// libvirtSettings is where libvirt reads its settings.
const libvirtSettings = "/etc/libvirt"

// Obstacle says why no stack with these guests can run here; "" when it can, for a
// process that may make namespaces.
func Obstacle(guests Guests) string {
	programs := []string{
		"mariadbd", "mariadb-install-db", "memcached", "epmd", "/usr/lib/rabbitmq/bin/rabbitmq-server", "uwsgi", "ip",
		"/usr/bin/keystone-wsgi-public", "/usr/bin/placement-api", "/usr/bin/glance-api", "/usr/bin/neutron-server",
		"/usr/bin/nova-api", "/usr/bin/nova-conductor", "/usr/bin/nova-scheduler", "/usr/bin/nova-compute",
	}
	if guests == QEMU {
		programs = append(programs, "libvirtd", "genisoimage", "qemu-img")
	}
	for _, program := range programs {
		if _, err := lookPath(program); err != nil {
			return "there is no " + program
		}
		if _, err := os.Stat(program); filepath.IsAbs(program) && errors.Is(err, os.ErrNotExist) {
			return "there is no " + program
		}
	}
	return ""
}

// run runs a program of the system.
func run(ctx context.Context, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	path, err := lookPath(argv[0])
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, path, argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %q: %w: %s", argv, err, out)
	}
	return nil
}
