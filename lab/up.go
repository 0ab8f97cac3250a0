package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github-runner/charm/services"
	"github-runner/lab/allinone"
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
	// Cloud is CloudAuto, or one of the clouds that a Lab can have.
	Cloud string
	// Guests are what the servers of a real OpenStack are; "" is allinone.Fake.
	Guests allinone.Guests
	// Share is the directory of a lab with a real OpenStack, in which this one gets a
	// project instead of an OpenStack of its own.
	Share string
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
	if options.Share != "" && options.Cloud != CloudOpenStack {
		return nil, fmt.Errorf("cannot start a lab on cloud %q that shares another one's: only %s can be shared", options.Cloud, CloudOpenStack)
	}
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
		Guests:  options.Guests,
		Share:   options.Share,
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

// ChooseCloud returns the cloud that Up would take, and says to options.Progress why.
func ChooseCloud(options Options) (string, error) {
	switch options.Cloud {
	case CloudEmulated:
		fmt.Fprintln(options.Progress, "cloud: emulated, as asked for")
		return CloudEmulated, nil
	case CloudOpenStackEmulated:
		fmt.Fprintln(options.Progress, "cloud: an emulated OpenStack, as asked for")
		return CloudOpenStackEmulated, nil
	case CloudOpenStack:
		return CloudOpenStack, chooseOpenStack(options)
	case CloudLXD, CloudAuto:
	default:
		return "", fmt.Errorf("cannot start a lab on cloud %q: choose %s, %s, %s, %s or %s", options.Cloud, CloudAuto, CloudLXD, CloudEmulated, CloudOpenStack, CloudOpenStackEmulated)
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

	start := map[string]func(context.Context, image.Builder, func(string)) error{
		CloudLXD: l.startReal, CloudEmulated: l.startEmulated,
		CloudOpenStack: l.startOpenStack, CloudOpenStackEmulated: l.startOpenStackEmulated,
	}
	if err := start[l.Cloud](ctx, images, step); err != nil {
		return err
	}
	if err := l.writeOptions(); err != nil {
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
	return l.startStandIn(ctx, step)
}

// startStandIn starts GitHub's stand-in at an address of the machine's own.
func (l *Lab) startStandIn(ctx context.Context, step func(string)) error {
	step("starting GitHub's stand-in")
	address, err := freeAddress(loopback)
	if err != nil {
		return err
	}
	return l.startGitHubAt(ctx, address)
}

func (l *Lab) startGitHubAt(ctx context.Context, address string) error {
	l.GitHubURL = "http://" + address
	return l.start(ctx, l.server("serve-github", "--listen", address))
}

func (l *Lab) startReal(ctx context.Context, images image.Builder, step func(string)) error {
	if err := l.startNetwork(ctx); err != nil {
		return err
	}
	if err := l.startGitHubInside(ctx, step); err != nil {
		return err
	}
	step("starting an LXD daemon of the lab's own")
	return l.startLXD(ctx, images)
}

// startGitHubInside starts GitHub's stand-in in the network namespace.
func (l *Lab) startGitHubInside(ctx context.Context, step func(string)) error {
	step("starting GitHub's stand-in at " + l.GitHubURL + ", in a network namespace of its own")
	return l.start(ctx, l.Network.inside(l.server("serve-github", "--listen", l.Network.StandIn.String()+":80")))
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
	if l.Cloud == CloudLXD {
		if err := raise(kernelSettings(), kernelRecord); err != nil {
			return err
		}
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

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// freeAddress returns an address of the machine's with a port that was free just now.
func freeAddress(at netip.Addr) (string, error) {
	listener, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
