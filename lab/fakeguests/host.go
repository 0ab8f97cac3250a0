// Package fakeguests lets guests live in the servers of a real Nova's fake driver,
// which are ACTIVE and have nothing in them: each does what its user-data asks for,
// as the guests of the emulated OpenStack do, and its server is shut off at its end.
// To Nova's users they look as if they had booted.
package fakeguests

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/sirupsen/logrus"

	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/openstack"
	"github-runner/lab/project"
)

const (
	// lookInterval is how often the servers are looked at: Nova tells of no event.
	lookInterval = 2 * time.Second
	callTimeout  = 30 * time.Second
	// userDataVersion is the first microversion that shows an administrator the
	// user-data of servers.
	userDataVersion = "2.3"
)

// Options are what a Host is made of.
type Options struct {
	// Clouds is the clouds.yaml of an administrator.
	Clouds []byte
	// Project is the ID of the only project whose servers have guests; "": all have.
	Project string
	// ListenSSH opens the port of a guest's SSH server at one of the guest's addresses,
	// which are this machine's. nil: guests take no connections.
	ListenSSH func(guest netip.Addr) (net.Listener, error)
	// Socket is where the host takes the orders of an openstack.Control.
	Socket string
	// Listen opens the session of a guest's runner application.
	Listen func(jit string) (guests.Listener, error)
	Log    *logrus.Entry
}

// Host is what the servers of one cloud run on.
type Host struct {
	options Options
	faults  *faults.Set
	compute *gophercloud.ServiceClient

	mu sync.Mutex
	// servers are those that there are, by their IDs.
	servers map[string]*server
}

// New returns a host. It makes no call.
func New(options Options) *Host {
	return &Host{options: options, faults: faults.New(openstack.GuestKinds(), nil), servers: make(map[string]*server)}
}

// Serve looks after guests until ctx ends, and calls ready when it has begun to.
func (h *Host) Serve(ctx context.Context, ready func()) error {
	if err := h.open(ctx); err != nil {
		return err
	}
	if err := os.Remove(h.options.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot take orders: %w", err)
	}
	listener, err := net.Listen("unix", h.options.Socket)
	if err != nil {
		return fmt.Errorf("cannot take orders: %w", err)
	}
	control := &http.Server{Handler: faults.Orders(h.faults, noRestart, h.orders()), ReadHeaderTimeout: time.Minute}
	go func() { _ = control.Serve(listener) }() // ends when it is closed
	defer control.Close()
	ready()
	for {
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			h.options.Log.WithError(err).Warning("the guests of new servers have to wait")
		}
		// Not a ticker: a busy Nova is left time for others.
		select {
		case <-ctx.Done():
			h.end()
			return nil
		case <-time.After(lookInterval):
		}
	}
}

var errNoRestart = errors.New("cannot restart a real OpenStack")

func noRestart(context.Context, time.Duration) error { return errNoRestart }

func (h *Host) open(ctx context.Context) error {
	admin, err := project.Open(ctx, h.options.Clouds)
	if err != nil {
		return err
	}
	h.use(admin.Compute)
	return nil
}

// use takes an administrator's client of Nova.
func (h *Host) use(compute *gophercloud.ServiceClient) {
	h.compute = compute
	h.compute.Microversion = userDataVersion
	h.compute.HTTPClient.Timeout = callTimeout
}

// look lets guests boot in servers that are ACTIVE, and ends those whose servers are
// not any more.
func (h *Host) look(ctx context.Context) error {
	pages, err := servers.List(h.compute, servers.ListOpts{AllTenants: true, TenantID: h.options.Project}).AllPages(ctx)
	if err != nil {
		return fmt.Errorf("cannot list servers: %w", err)
	}
	found, err := servers.ExtractServers(pages)
	if err != nil {
		return fmt.Errorf("cannot list servers: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	there := make(map[string]bool)
	for _, shown := range found {
		there[shown.ID] = true
		h.see(ctx, shown)
	}
	for id, v := range h.servers {
		if !there[id] {
			v.powerOff()
			delete(h.servers, id)
		}
	}
	return nil
}

// see compares what Nova shows of a server with what lives in it; h.mu is held.
func (h *Host) see(ctx context.Context, shown servers.Server) {
	v := h.servers[shown.ID]
	if v == nil {
		v = &server{host: h, id: shown.ID, name: shown.Name, userData: decoded(shown.Userdata)}
		h.servers[shown.ID] = v
	}
	v.addresses = addressesOf(shown)
	on := shown.Status == "ACTIVE" && shown.TaskState == ""
	switch {
	case on && v.guest == nil && !v.ended:
		v.powerOn(ctx)
	case !on && shown.TaskState == "":
		// It is off, so that it may be started again.
		v.powerOff()
		v.ended = false
	case shown.TaskState == "deleting":
		v.powerOff()
	}
	if v.guest != nil {
		v.guest.listenSSH()
	}
}

// decoded is the user-data that Nova shows; "" where there is none.
func decoded(shown *string) string {
	if shown == nil {
		return ""
	}
	text, err := base64.StdEncoding.DecodeString(*shown)
	if err != nil {
		return ""
	}
	return string(text)
}

// end pulls all plugs.
func (h *Host) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.servers {
		v.powerOff()
	}
}
