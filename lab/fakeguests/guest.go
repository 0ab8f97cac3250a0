package fakeguests

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/lab/clock"
	"github-runner/lab/guests"
)

// server is a server of Nova's with the machine that its guests have.
type server struct {
	host     *Host
	id, name string
	userData string
	// addresses are those that Nova gave it.
	addresses []netip.Addr
	machine   guests.Memory
	guest     *guest
	// ended is set when a guest powered itself off and Nova does not show it yet.
	ended bool
}

// guest is what runs in a server, from its power-on to its power-off.
type guest struct {
	*server
	runner *guests.Runner
	// open has the addresses at which its SSH server takes connections.
	open map[netip.Addr]bool

	ctx context.Context
	// pull pulls the plug.
	pull context.CancelFunc
	// application is the context of the runner application; kill ends it.
	application context.Context
	kill        context.CancelFunc
}

// powerOn lets the guest boot; host.mu is held.
func (v *server) powerOn(ctx context.Context) {
	g := &guest{server: v, open: make(map[netip.Addr]bool)}
	g.runner = &guests.Runner{Name: v.name, UserData: v.userData, Machine: &v.machine, Listen: v.host.options.Listen, Faults: v.host.faults}
	g.ctx, g.pull = context.WithCancel(ctx)
	g.application, g.kill = context.WithCancel(g.ctx)
	v.guest = g
	go g.live()
}

// powerOff ends the guest; host.mu is held.
func (v *server) powerOff() {
	if v.guest != nil {
		v.guest.pull()
		v.guest = nil
	}
}

// live is the guest's life; it ends with a power-off, by itself or from outside.
func (g *guest) live() {
	defer g.kill()
	jit := strings.TrimSpace(guests.WrittenFile(g.userData, cloudinit.JITPath))
	facts := guests.WrittenFile(g.userData, image.FactsPath)
	switch {
	case jit == "" && facts == "":
		return // somebody's machine: it just runs
	case facts != "":
		builder := &guests.Builder{Name: g.name, Disk: &g.machine, Faults: g.host.faults}
		builder.Run(g.ctx, facts)
	default:
		if code := g.runner.Serve(g.application, jit); g.ctx.Err() == nil {
			g.runner.End(code)
		}
	}
	if g.host.faults.Take(PowerOffHangs, g.name) != nil || clock.Pause(g.ctx, guests.PowerOffDelay(g.userData)) != nil {
		return
	}
	g.shutDown()
}

// shutDown has Nova show what the host of a real guest finds out by itself: that it
// powered off.
func (g *guest) shutDown() {
	if !g.isOver() {
		return // it was ended from outside
	}
	defer g.pull()
	ctx, cancel := context.WithTimeout(g.ctx, callTimeout)
	defer cancel()
	err := servers.Stop(ctx, g.host.compute, g.id).ExtractErr()
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		g.host.options.Log.WithError(err).WithField("server", g.name).Warning("cannot show that a guest powered off")
	}
}

// isOver notes that the guest powered off, unless it was ended from outside.
func (g *guest) isOver() bool {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	if g.server.guest != g {
		return false
	}
	g.ended, g.server.guest = true, nil
	return true
}
