package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/sirupsen/logrus"

	"github-runner/lab/github"
	"github-runner/lab/lxd"
	"github-runner/lab/openstack"
	"github-runner/lab/pipe"
)

// The addresses of the world's network.
const (
	gitHubAddress = "github"
	gitHubURL     = "http://github.test"
)

// world is a machine with LXD, and GitHub, and perhaps an OpenStack.
type world struct {
	dir     string
	network *pipe.Network
	kernel  kernel
	github  *github.Server
	guests  *guests
	story   *story

	running atomic.Pointer[lxd.Server]
	// openStack is nil where there is none.
	openStack    *openstack.Server
	endOpenStack func() error
	// halt ends LXD and its guests, and closes GitHub.
	halt   func()
	closed func()
}

// timing is about what containers take, and less than virtual machines do.
var timing = lxd.Timing{
	Create: 2 * time.Second, Start: time.Second, Boot: 3 * time.Second, PowerOff: time.Second,
	Work: 20 * time.Second, Publish: 15 * time.Second,
	Firmware: 3 * time.Second, Agent: 4 * time.Second, Reboot: 3 * time.Second,
}

// newWorld makes a world in a folder that is empty.
func newWorld(dir string, story *story) (*world, error) {
	w := &world{dir: dir, network: pipe.NewNetwork(), story: story}
	application := filepath.Join(dir, "actions-runner-linux-x64-2.999.1.tar.gz")
	if err := os.WriteFile(application, nil, 0o600); err != nil {
		return nil, err
	}
	var err error
	w.github, err = github.New(github.Options{
		Applications: []string{application},
		OfflineAfter: 20 * time.Second, LostAfter: time.Minute, Log: silent(),
	})
	if err != nil {
		return nil, err
	}
	w.guests = newGuests(w.github, filepath.Join(w.folder(), "exchange"), story)
	listener, err := w.network.Listen("tcp", gitHubAddress)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: w.github}
	go server.Serve(listener)
	w.closed = func() { server.Close() }
	if err := w.boot(); err != nil {
		return nil, err
	}
	return w, w.imageVirtual()
}

// virtualImage is the alias of an image for virtual machines; noble is one for
// containers.
const virtualImage = "jammy"

// imageVirtual lets virtualImage lead to such an image, as an operator does.
func (w *world) imageVirtual() error {
	if err := w.send(http.MethodDelete, "http://lxd/1.0/images/aliases/"+virtualImage, w.lxdSocket(), nil); err != nil {
		return err
	}
	for _, image := range w.daemon().Possessions().Images {
		if image.Type != "virtual-machine" {
			continue
		}
		alias := api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{Name: virtualImage, Target: image.Fingerprint}}
		return w.post("http://lxd/1.0/images/aliases", w.lxdSocket(), alias)
	}
	return errors.New("the emulated LXD has no image for virtual machines")
}

// boot starts LXD as it was left.
func (w *world) boot() error {
	if err := os.MkdirAll(w.path("proc"), 0o755); err != nil {
		return err
	}
	server, err := lxd.New(lxd.Options{
		Dir: w.dir, Open: w.open, Processes: w.path("proc"), Listen: w.guests.listen, Timing: timing, Log: silent(),
	})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	up, down := make(chan struct{}), make(chan error, 1)
	go func() { down <- server.Serve(ctx, func() { close(up) }) }()
	select {
	case <-up:
	case err := <-down:
		end()
		return fmt.Errorf("cannot start the emulated LXD: %w", err)
	}
	w.running.Store(server)
	w.halt = func() {
		end()
		<-down
	}
	return nil
}

// daemon is LXD, as it was last started.
func (w *world) daemon() *lxd.Server {
	return w.running.Load()
}

// shutDown ends everything on the machine but its disk.
func (w *world) shutDown() error {
	w.halt()
	if err := os.RemoveAll(w.path("proc")); err != nil {
		return err
	}
	return unmountBelow(w.dir)
}

// end ends the world.
func (w *world) end() error {
	w.halt()
	var err error
	if w.openStack != nil {
		err = w.endOpenStack()
	}
	w.closed()
	return errors.Join(err, unmountBelow(w.dir))
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// lxdSocket is where LXD listens, on the world's network.
func (w *world) lxdSocket() string {
	return w.path("lxd", "unix.socket")
}

// root is the prefix of the charm's paths.
func (w *world) root() string {
	return w.path("root")
}

// folder is the unit's.
func (w *world) folder() string {
	return filepath.Join(w.root(), "var/lib/github-runner", owner.Prefix())
}

func silent() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

// open lets a server of the emulated LXD listen.
func (w *world) open(address string) (net.Listener, error) {
	return w.network.Listen("unix", address)
}
