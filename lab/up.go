package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github-runner/charm/services"
	"github-runner/lab/flock"
	"github-runner/lab/image"
)

const (
	upTimeout   = 20 * time.Minute
	downTimeout = 5 * time.Minute

	// longestDir keeps the paths of sockets below the kernel's 107 characters.
	longestDir = 85

	// outsideDir holds the LXD of labs whose own directory lies where only its
	// owner gets through, such as /root: containers could not be started there.
	outsideDir = "/var/lib/github-runner-lab"

	// machineLock is held by whoever changes what all labs share.
	machineLock = image.DefaultCache + "/machine"
)

// Options are what a lab is made from.
type Options struct {
	// Dir is the lab's directory. It must be missing or empty.
	Dir string
	// Cloud is CloudAuto, CloudLXD or CloudEmulated.
	Cloud string
	// NoAgent switches the units' resident agents off: hooks alone look after
	// runners, which is easier to follow.
	NoAgent bool
	// Program is the path of the lab program itself, which the background
	// processes run.
	Program string
	// Images builds the image of a real cloud.
	Images image.Builder
	// Progress gets one line per step for a person to read.
	Progress io.Writer
}

// Up starts a lab and returns when all of it answers. When it fails it removes
// what it had made so far.
func Up(ctx context.Context, options Options) (*Lab, error) {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	cloud, err := ChooseCloud(options)
	if err != nil {
		return nil, err
	}
	dir, err := claim(options.Dir)
	if err != nil {
		return nil, err
	}
	release, err := flock.Take(ctx, dir, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot start a lab: %w", err)
	}
	defer release()
	// Another may have been faster.
	if err := unclaimed(dir); err != nil {
		return nil, err
	}

	l := &Lab{
		Dir:     dir,
		Cloud:   cloud,
		LXDDir:  filepath.Join(dir, "lxd"),
		Root:    filepath.Join(dir, "root"),
		Program: options.Program,
	}
	if cloud == CloudLXD && !openToAll(dir) {
		l.LXDDir = filepath.Join(outsideDir, tagOf(dir))
	}
	if err := l.up(ctx, options); err != nil {
		fmt.Fprintf(options.Progress, "failed; removing what was made so far\n")
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		_, downErr := l.down(cleanup)
		return nil, errors.Join(err, downErr)
	}
	return l, nil
}

// ChooseCloud returns the cloud that Up would take, CloudLXD or CloudEmulated,
// and says to options.Progress why.
func ChooseCloud(options Options) (string, error) {
	switch options.Cloud {
	case CloudEmulated:
		fmt.Fprintln(options.Progress, "cloud: emulated, as asked for")
		return CloudEmulated, nil
	case CloudLXD, CloudAuto:
	default:
		return "", fmt.Errorf("cannot start a lab on cloud %q: choose %s, %s or %s", options.Cloud, CloudAuto, CloudLXD, CloudEmulated)
	}
	obstacle := lxdObstacle(options.Images)
	switch {
	case obstacle == "" && options.Cloud == CloudLXD:
		fmt.Fprintln(options.Progress, "cloud: real LXD, as asked for")
	case obstacle == "":
		fmt.Fprintln(options.Progress, "cloud: real LXD, which can run here")
	case options.Cloud == CloudLXD:
		return "", fmt.Errorf("cannot start a lab on real LXD: %s; '--cloud emulated' needs nothing", obstacle)
	default:
		fmt.Fprintf(options.Progress, "cloud: emulated, because real LXD can't run here: %s\n", obstacle)
		return CloudEmulated, nil
	}
	return CloudLXD, nil
}

// claim makes the lab's directory and returns its true path. Down removes all of
// it, so it must hold nothing else.
func claim(dir string) (string, error) {
	resolved, err := resolve(dir)
	if err != nil {
		return "", fmt.Errorf("cannot start a lab in %s: %w", dir, err)
	}
	if len(resolved) > longestDir {
		return "", fmt.Errorf("cannot start a lab in %s: the path has %d characters, and %d is the most that leaves room for sockets", resolved, len(resolved), longestDir)
	}
	if err := unclaimed(resolved); err != nil {
		return "", err
	}
	// Containers' users, which are not root's, must get through.
	if err := os.MkdirAll(resolved, 0o755); err != nil {
		return "", fmt.Errorf("cannot start a lab: %w", err)
	}
	return resolved, nil
}

// unclaimed returns an error when something is in a directory.
func unclaimed(dir string) error {
	if l, err := Open(dir); err == nil {
		return l.refusal()
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot start a lab in %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("cannot start a lab in %s: the directory is not empty; choose another with --dir", dir)
	}
	return nil
}

// openToAll reports whether every user gets through to a directory: a
// container's root is none of the machine's users.
func openToAll(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

func (l *Lab) refusal() error {
	for _, p := range l.Processes {
		if p.Alive() {
			return fmt.Errorf("cannot start a lab in %s: one is running there (%s, %s); 'lab down' ends it, --dir makes another", l.Dir, l.Cloud, l.GitHubURL)
		}
	}
	return fmt.Errorf("cannot start a lab in %s: one is there that was not ended; 'lab down' cleans up after it", l.Dir)
}

func (l *Lab) up(ctx context.Context, options Options) error {
	for _, dir := range []string{l.Root, l.LogDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot start a lab: %w", err)
		}
	}
	if err := l.save(); err != nil {
		return err
	}
	if options.NoAgent {
		if err := l.switchAgentOff(); err != nil {
			return err
		}
	}
	began := time.Now()
	step := func(text string) {
		fmt.Fprintf(options.Progress, "%6.1fs  %s\n", time.Since(began).Seconds(), text)
	}
	images := options.Images
	images.Progress = step

	start := l.startEmulated
	if l.Cloud == CloudLXD {
		start = l.startReal
	}
	if err := start(ctx, images, step); err != nil {
		return err
	}
	step("starting the Juju model")
	if err := l.start(ctx, l.server("serve-juju")); err != nil {
		return err
	}
	before, err := l.Take(ctx)
	if err != nil {
		return err
	}
	if err := before.save(l.Dir); err != nil {
		return err
	}
	step("ready")
	return nil
}

// switchAgentOff makes the file by which an operator switches the agent off.
func (l *Lab) switchAgentOff() error {
	file := filepath.Join(l.Root, services.AgentOffFile)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, nil, 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot switch the agent off: %w", err)
	}
	return nil
}

func (l *Lab) startEmulated(ctx context.Context, _ image.Builder, step func(string)) error {
	if err := os.MkdirAll(l.LXDDir, 0o711); err != nil {
		return fmt.Errorf("cannot start a lab: %w", err)
	}
	step("starting the emulation of LXD")
	if err := l.start(ctx, l.server("serve-lxd")); err != nil {
		return err
	}
	step("starting GitHub's stand-in")
	address, err := freeAddress()
	if err != nil {
		return err
	}
	l.GitHubURL = "http://" + address
	return l.start(ctx, l.server("serve-github", "--listen", address))
}

func (l *Lab) startReal(ctx context.Context, images image.Builder, step func(string)) error {
	if err := l.startNetwork(ctx); err != nil {
		return err
	}
	step("starting GitHub's stand-in at " + l.GitHubURL + ", in a network namespace of its own")
	s := l.server("serve-github", "--listen", l.Network.StandIn.String()+":80")
	s.argv = append([]string{"ip", "netns", "exec", l.Network.Namespace}, s.argv...)
	if err := l.start(ctx, s); err != nil {
		return err
	}
	step("starting an LXD daemon of the lab's own")
	return l.startLXD(ctx, images)
}

// startNetwork makes the stand-in's network, alone on the machine, so that two
// labs don't take the same addresses.
func (l *Lab) startNetwork(ctx context.Context) error {
	release, err := lockMachine(ctx)
	if err != nil {
		return fmt.Errorf("cannot start a lab: %w", err)
	}
	defer release()
	planned, err := planNetwork(l.Dir)
	if err != nil {
		return err
	}
	l.Network = planned
	l.GitHubURL = "http://" + planned.StandIn.String()
	if err := l.save(); err != nil {
		return err
	}
	if err := raise(kernelSettings(), kernelRecord); err != nil {
		return err
	}
	return planned.up(ctx)
}

func lockMachine(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(machineLock, 0o755); err != nil {
		return nil, err
	}
	return flock.Take(ctx, machineLock, nil)
}

// server is one of the lab program's own background processes.
func (l *Lab) server(command string, args ...string) spawn {
	return spawn{
		name: command,
		argv: append([]string{l.Program, command, "--dir", l.Dir}, args...),
		env:  l.daemonEnv(),
	}
}

// daemonEnv is the environment of every background process: nothing of the
// caller's shell but the way to the system's programs.
func (l *Lab) daemonEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin",
		"LANG=C.UTF-8",
		ownerVariable + "=" + l.Dir,
	}
}

// freeAddress returns a loopback address with a port that was free just now.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
