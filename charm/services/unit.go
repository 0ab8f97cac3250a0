package services

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/systemd"
	"github-runner/charm/unitdir"
)

// Limits in time. A hook waits for services no longer than this.
const (
	// EnsureDeadline bounds Ensure, StopDeadline bounds Stop.
	EnsureDeadline = 45 * time.Second
	StopDeadline   = time.Minute
	// reportDeadline bounds Report.
	reportDeadline = 10 * time.Second
	// answerDeadline is how long a daemon has to answer before it counts as
	// stuck.
	answerDeadline = 5 * time.Second
	// daemonPatience is more than Pebble takes to end its services and itself.
	daemonPatience = killDelay + 10*time.Second
	// stuckPatience is how long one that does not answer has to end.
	stuckPatience = time.Second
)

const (
	// homeName is the daemon's folder in the unit's, $PEBBLE.
	homeName = "pebble"
	// layersName and layerLabel are where Pebble looks for layers when it
	// starts, and the name by which one is combined with that.
	layersName = "layers"
	layerLabel = "services"
	// socketName is where Pebble listens if nothing else is said. Everybody may
	// write to it, so the folder is for its owner alone.
	socketName = ".pebble.socket"
)

// Config says whose services they are and where things are.
type Config struct {
	// Dir is the unit's folder.
	Dir *unitdir.Dir
	// CharmDir is the folder with the charm's program and Pebble's, which Juju
	// replaces at a refresh.
	CharmDir string
	// Root is a prefix of /var and /etc, for tests; LXDDir the folder of another
	// LXD than the usual. Services get both.
	Root, LXDDir string
	Log          *logrus.Entry
}

// Unit is the services of one unit.
type Unit struct {
	dir          *unitdir.Dir
	key          string
	program      string
	pebble       string
	root, lxdDir string
	log          *logrus.Entry
	supervisor   supervisor
}

// supervisor is what keeps the daemon running.
type supervisor interface {
	// start starts the daemon, which does not run, and returns once it answers.
	start(ctx context.Context) error
	// stop ends the daemon with its services; nil when it does not run.
	stop(ctx context.Context) error
	// tidy bounds what the daemon leaves while it runs.
	tidy() error
	// forget removes what start made; nil when it is gone.
	forget(ctx context.Context) error
}

// New returns the services of a unit, without touching anything. Where systemd
// runs the machine, it keeps the daemon running, also over a restart; elsewhere,
// and below another root, the daemon is a process of its own, which the next hook
// starts again if it has ended.
func New(cfg Config) (*Unit, error) {
	// As the kernel names the programs of processes.
	charmDir, err := filepath.EvalSymlinks(cfg.CharmDir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the charm's folder: %w", err)
	}
	u := &Unit{
		dir:     cfg.Dir,
		key:     filepath.Base(cfg.Dir.Path()),
		program: filepath.Join(charmDir, "github-runner"),
		pebble:  filepath.Join(charmDir, "pebble"),
		root:    cfg.Root,
		lxdDir:  cfg.LXDDir,
		log:     cfg.Log,
	}
	u.supervisor = direct{u}
	if cfg.Root == "" && systemd.Runs("") {
		u.supervisor = system{unit: u, folder: systemdFolder}
	}
	return u, nil
}

// home is the daemon's folder.
func (u *Unit) home() string {
	return u.dir.Path(homeName)
}

// makeHome makes the daemon's folder.
func (u *Unit) makeHome() error {
	for _, path := range []string{u.home(), filepath.Join(u.home(), layersName)} {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot make Pebble's folder: %w", err)
		}
	}
	return nil
}

// leftSocket reports whether a socket is there: a daemon that is ended by us
// takes its own along.
func (u *Unit) leftSocket() bool {
	_, err := os.Lstat(filepath.Join(u.home(), socketName))
	return err == nil
}

// writeLayer writes what a daemon starts with, should it start without us.
func (u *Unit) writeLayer(data []byte) error {
	path := filepath.Join(u.home(), layersName, "001-"+layerLabel+".yaml")
	if have, err := os.ReadFile(path); err == nil && string(have) == string(data) {
		return nil
	}
	if err := unitdir.ReplaceFile(path, data, 0o600); err != nil {
		return fmt.Errorf("cannot write Pebble's layer: %w", err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeHome removes the daemon's folder.
func (u *Unit) removeHome() error {
	if err := os.RemoveAll(u.home()); err != nil {
		return fmt.Errorf("cannot remove Pebble's folder: %w", err)
	}
	return nil
}
