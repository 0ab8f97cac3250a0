package lxd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/sirupsen/logrus"

	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/restartable"
)

// Options say what an emulation is like.
type Options struct {
	// Dir is the lab's directory: the API's socket is lxd/unix.socket in it,
	// the control socket cloud.sock.
	Dir string
	// Listen opens the session of a guest's runner application; nil: GitHub is
	// out of the guests' reach.
	Listen func(jit string) (Listener, error)
	// Open opens the two sockets; nil: sockets of the machine.
	Open func(path string) (net.Listener, error)
	// Processes is a folder for the guests' processes, of the form of /proc;
	// "": guests have none.
	Processes string
	// Timing is how long things take.
	Timing Timing
	Log    *logrus.Entry
}

// Timing is how long things take that take their time in a real daemon.
type Timing struct {
	// Create is the time to unpack an image.
	Create time.Duration
	// Download is the time to download an image.
	Download time.Duration
	// Publish is the time to pack an instance into an image.
	Publish time.Duration
	// Start is the time until an instance runs.
	Start time.Duration
	// Boot is the time from there until the runner application starts.
	Boot time.Duration
	// Firmware is what a virtual machine takes longer to boot than a container.
	Firmware time.Duration
	// Agent is the time from each power-on until the agent of a virtual machine
	// is up.
	Agent time.Duration
	// Reboot is how long a virtual machine is off when it reboots.
	Reboot time.Duration
	// Work is the time that a machine for images takes for each of its steps.
	Work time.Duration
	// PowerOff is the time that a guest takes to power off.
	PowerOff time.Duration
}

// Quick is the timing for tests.
func Quick() Timing {
	return Timing{
		Create:   10 * time.Millisecond,
		Download: 10 * time.Millisecond,
		Publish:  10 * time.Millisecond,
		Start:    10 * time.Millisecond,
		Boot:     30 * time.Millisecond,
		Firmware: 30 * time.Millisecond,
		Agent:    50 * time.Millisecond,
		Reboot:   200 * time.Millisecond,
		Work:     10 * time.Millisecond,
		PowerOff: 5 * time.Millisecond,
	}
}

// Server is an emulated daemon with its instances.
type Server struct {
	options    Options
	events     *hub
	operations *operations
	faults     *faults.Set
	mux        *http.ServeMux
	// life ends all guests.
	life   context.Context
	end    context.CancelFunc
	daemon *restartable.Daemon
	// pids is the number of the last process of a guest.
	pids atomic.Int64

	mu        sync.Mutex
	instances map[string]*instance
	networks  map[string]*api.Network
	acls      map[string]*api.NetworkACL
	pools     map[string]*api.StoragePool
	profiles  map[string]*api.Profile
	images    map[string]*storedImage
	// volumes are custom storage volumes by "pool/name".
	volumes map[string]*api.StorageVolume
	// edits counts the changes to profiles, which show in instances.
	edits int
}

// New returns an emulation with the state that an earlier one left in the same
// directory; its instances are stopped, as after a reboot of the machine.
func New(options Options) (*Server, error) {
	if options.Log == nil {
		options.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	s := &Server{
		options:   options,
		faults:    faults.New(kinds, checkFault),
		daemon:    restartable.New(),
		instances: make(map[string]*instance),
		networks:  make(map[string]*api.Network),
		acls:      make(map[string]*api.NetworkACL),
		pools:     make(map[string]*api.StoragePool),
		profiles:  make(map[string]*api.Profile),
		images:    make(map[string]*storedImage),
		volumes:   make(map[string]*api.StorageVolume),
	}
	if s.options.Open == nil {
		s.options.Open = listen
	}
	if s.options.Listen == nil {
		s.options.Listen = guests.NoGitHub
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.events = newHub(func() bool { return s.faults.Take(EventsLost, "") != nil })
	s.operations = newOperations(s.events)
	s.mux = s.routes()
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Socket is where the API listens.
func (s *Server) Socket() string { return filepath.Join(s.options.Dir, "lxd", "unix.socket") }

// ControlSocket is where the lab's own orders are taken.
func (s *Server) ControlSocket() string { return filepath.Join(s.options.Dir, "cloud.sock") }

// Serve answers on both sockets until ctx ends; it calls ready once both
// listen.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	defer s.end()
	control, err := s.options.Open(s.ControlSocket())
	if err != nil {
		return err
	}
	controlServer := &http.Server{Handler: faults.Orders(s.faults, s.Restart, nil), ReadHeaderTimeout: time.Minute}
	go func() { _ = controlServer.Serve(control) }() // ends when it is closed
	defer controlServer.Close()
	return s.daemon.Serve(ctx, restartable.Life{Open: s.open, Handler: s.Handler(), End: s.callOff}, ready)
}

// open is the start of the daemon.
func (s *Server) open() (net.Listener, error) {
	listener, err := s.options.Open(s.Socket())
	if err == nil {
		s.findSources()
	}
	return listener, err
}

// callOff is the end of the daemon: what goes on is called off. Guests live on.
func (s *Server) callOff() {
	s.operations.reset()
	s.events.cut()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		i.busy = ""
	}
}

// Restart ends the daemon, without its guests, and starts it again after a
// time. It returns when the daemon is back.
func (s *Server) Restart(ctx context.Context, down time.Duration) error {
	return s.daemon.Restart(ctx, down)
}

func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return restartable.Listen("unix", path)
}
