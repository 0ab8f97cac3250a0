package openstack

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/restartable"
)

// Options say what an emulation is like.
type Options struct {
	// Dir is the lab's directory: the control socket is cloud.sock in it, GuestSocket
	// another one.
	Dir string
	// Address is where the APIs listen; "": a free port of 127.0.0.1.
	Address string
	// Open opens the address of the APIs and the sockets; nil: those of the
	// machine.
	Open func(network, address string) (net.Listener, error)
	// Listen opens the session of a guest's runner application; nil: GitHub is
	// out of the guests' reach.
	Listen func(jit string) (guests.Listener, error)
	// Dial is how guests reach a policy service; nil: as the machine does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// World is what there is at first; the zero value: FirstWorld.
	World World
	// Timing is how long things take.
	Timing Timing
	Log    *logrus.Entry
}

// Timing is how long things take that take their time in a real cloud.
type Timing struct {
	// Call is the time that every call takes before it has an effect.
	Call time.Duration
	// Token is how long a token is good; 0: an hour.
	Token time.Duration
	// Build is the time from a server's POST until it is ACTIVE.
	Build time.Duration
	// Boot is the time from a server's power-on until its runner application starts.
	Boot time.Duration
	// Work is the time that a machine for images takes for each of its steps.
	Work time.Duration
	// PowerOff is the time that a guest takes to power off.
	PowerOff time.Duration
	// Power is the time that starting, stopping and rebooting a server take.
	Power time.Duration
	// Delete is the time from a server's DELETE until it is gone.
	Delete time.Duration
	// Snapshot is the time to make an image of a server.
	Snapshot time.Duration
}

// Quick is the timing for tests.
func Quick() Timing {
	return Timing{
		Build:    30 * time.Millisecond,
		Boot:     30 * time.Millisecond,
		Work:     10 * time.Millisecond,
		PowerOff: 5 * time.Millisecond,
		Power:    10 * time.Millisecond,
		Delete:   10 * time.Millisecond,
		Snapshot: 20 * time.Millisecond,
	}
}

// Server is an emulated cloud with its servers.
type Server struct {
	options  Options
	faults   *faults.Set
	services []*service
	// life ends all that goes on in the cloud.
	life   context.Context
	end    context.CancelFunc
	daemon *restartable.Daemon

	mu       sync.Mutex
	address  string
	projects map[string]*project
	tokens   map[string]*token
	flavors  []*Flavor
	networks []*network
	// servers, images, groups, ports and floating are in the order of creation.
	servers  []*server
	images   []*storedImage
	groups   []*group
	ports    []*port
	floating []*floatingIP
}

// New returns an emulation in which nothing has happened yet.
func New(options Options) (*Server, error) {
	if options.Log == nil {
		options.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	if options.Open == nil {
		options.Open = restartable.Listen
	}
	if options.Listen == nil {
		options.Listen = guests.NoGitHub
	}
	if options.Dial == nil {
		options.Dial = new(net.Dialer).DialContext
	}
	if options.Address == "" {
		options.Address = "127.0.0.1:0"
	}
	if options.Timing.Token == 0 {
		options.Timing.Token = time.Hour
	}
	if options.World.empty() {
		options.World = FirstWorld()
	}
	s := &Server{
		options:  options,
		faults:   faults.New(kinds, checkFault),
		daemon:   restartable.New(),
		projects: make(map[string]*project),
		tokens:   make(map[string]*token),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.services = []*service{s.identity(), s.compute(), s.network(), s.image()}
	if err := s.furnish(options.World); err != nil {
		return nil, err
	}
	return s, nil
}

// ControlSocket is where the lab's own orders are taken.
func (s *Server) ControlSocket() string { return filepath.Join(s.options.Dir, "cloud.sock") }

// URL is where Keystone answers; "" before Serve listens.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		return ""
	}
	return "http://" + s.address + identityPath + "/v3"
}

// Serve answers at the APIs' address and on the sockets until ctx ends; it calls ready
// once all listen. The cloud ends with it.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	defer s.end()
	control, err := s.options.Open("unix", s.ControlSocket())
	if err != nil {
		return err
	}
	controlServer := &http.Server{Handler: faults.Orders(s.faults, s.Restart, s.orders()), ReadHeaderTimeout: time.Minute}
	go func() { _ = controlServer.Serve(control) }() // ends when it is closed
	defer controlServer.Close()
	guestSocket, err := s.options.Open("unix", GuestSocket(s.options.Dir))
	if err != nil {
		return err
	}
	defer guestSocket.Close()
	go s.serveGuests(guestSocket)
	return s.daemon.Serve(ctx, restartable.Life{Open: s.open, Handler: s.Handler()}, ready)
}

// open is the start of the APIs. They come back where they were.
func (s *Server) open() (net.Listener, error) {
	listener, err := s.options.Open("tcp", s.options.Address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Address = listener.Addr().String()
	s.address = s.options.Address
	return listener, nil
}

// Restart ends the APIs, without the servers, and starts them again after a time.
// It returns when they are back. Tokens stay good.
func (s *Server) Restart(ctx context.Context, down time.Duration) error {
	return s.daemon.Restart(ctx, down)
}
