package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github-runner/lab"
	"github-runner/lab/guests"
	"github-runner/lab/openstack"
	"github-runner/lab/runnerapp"
)

const (
	// openStackCall is how long each call of the emulated OpenStack takes.
	openStackCall = 50 * time.Millisecond

	// The project and its user in the emulated OpenStack, and what servers are there.
	openStackProject = "lab"
	openStackUser    = "lab"
	openStackFlavor  = "m1.small"
	openStackNetwork = "lab"
)

// openStackCalls are the calls of an OpenStack, by what they are for.
type openStackCalls struct {
	All int
	// Tokens are logins, Pages those of lists of servers, LookUps look for what
	// servers are made of, and SSH are connections to servers, which are no calls.
	Tokens, Pages, LookUps, SSH int
}

func quietOpenStack(q quiet) float64 { return float64(q.OpenStack.All) }
func quietTokens(q quiet) float64    { return float64(q.OpenStack.Tokens) }
func quietPages(q quiet) float64     { return float64(q.OpenStack.Pages) }
func quietLookUps(q quiet) float64   { return float64(q.OpenStack.LookUps) }
func quietSSH(q quiet) float64       { return float64(q.OpenStack.SSH) }

// openStack is an emulated OpenStack whose calls are counted.
type openStack struct {
	// clouds is the path of a clouds.yaml for it, options what a unit needs to be
	// told.
	clouds  string
	options map[string]any

	mu    sync.Mutex
	calls openStackCalls
	// ordered is when the last POST of a server was answered.
	ordered time.Time
}

func (o *openStack) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls, o.ordered = openStackCalls{}, time.Time{}
}

func (o *openStack) counted() openStackCalls {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls
}

func (o *openStack) lastOrder() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ordered
}

// openStackPost is the call that makes a server.
const openStackPost = "POST /compute/v2.1/servers"

// counters are where calls are counted beside All, by method and path.
func (c *openStackCalls) counters() map[string]*int {
	return map[string]*int{
		"POST /identity/v3/auth/tokens":     &c.Tokens,
		"GET /compute/v2.1/servers/detail":  &c.Pages,
		"GET /compute/v2.1/flavors/detail":  &c.LookUps,
		"GET /image/v2/images":              &c.LookUps,
		"GET /network/v2.0/networks":        &c.LookUps,
		"GET /network/v2.0/security-groups": &c.LookUps,
	}
}

// count counts what an API answers.
func (o *openStack) count(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r)
		o.mu.Lock()
		defer o.mu.Unlock()
		call := r.Method + " " + r.URL.Path
		o.calls.All++
		if counter := o.calls.counters()[call]; counter != nil {
			*counter++
		}
		if call == openStackPost {
			o.ordered = time.Now()
		}
	})
}

// open opens the emulation's own address and sockets, and counts the connections that
// lead to its servers.
func (o *openStack) open(guestSocket string) func(network, address string) (net.Listener, error) {
	return func(network, address string) (net.Listener, error) {
		listener, err := net.Listen(network, address)
		if err == nil && address == guestSocket {
			listener = knocked{listener, o}
		}
		return listener, err
	}
}

// knocked counts the connections that it accepts.
type knocked struct {
	net.Listener
	on *openStack
}

// Accept implements net.Listener.
func (k knocked) Accept() (net.Conn, error) {
	conn, err := k.Listener.Accept()
	if err == nil {
		k.on.mu.Lock()
		k.on.calls.SSH++
		k.on.mu.Unlock()
	}
	return conn, err
}

// openOpenStack serves an emulated OpenStack and GitHub from this process, whose own
// cost is not measured.
func openOpenStack(program string) (*stage, error) {
	return openServed(program, &stage{cloud: lab.CloudOpenStackEmulated}, func(on *stage) error {
		return on.serveOpenStack(program)
	})
}

// serveOpenStack emulates OpenStack behind an address that counts the calls.
func (on *stage) serveOpenStack(program string) error {
	cloud := &openStack{clouds: filepath.Join(on.dir, "clouds.yaml")}
	timing := openstack.Quick()
	timing.Call = openStackCall
	server, err := openstack.New(openstack.Options{
		Dir:    on.dir,
		Timing: timing,
		Log:    silent(),
		Open:   cloud.open(openstack.GuestSocket(on.dir)),
		Listen: func(jit string) (guests.Listener, error) { return runnerapp.Open(jit) },
	})
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- server.Serve(life, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		end()
		return fmt.Errorf("cannot serve OpenStack: %w", err)
	}
	on.end = append(on.end, func(context.Context) error { end(); return <-ended })
	counted, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot serve OpenStack: %w", err)
	}
	on.serve(counted, cloud.count(server.Handler()))
	uncounted, err := url.Parse(server.URL())
	if err != nil {
		return fmt.Errorf("cannot serve OpenStack: %w", err)
	}
	clouds := strings.ReplaceAll(server.CloudsYAML(openStackProject, openStackUser), uncounted.Host, counted.Addr().String())
	cloud.options = map[string]any{
		"openstack-clouds-yaml": clouds,
		"openstack-flavor":      openStackFlavor,
		"openstack-network":     openStackNetwork,
		// A shell in between would leave children to this process, a subreaper.
		"manager-ssh-proxy-command": "exec " + lab.SSHCommand(program, on.dir),
	}
	on.openStack = cloud
	return os.WriteFile(cloud.clouds, []byte(clouds), 0o600)
}
