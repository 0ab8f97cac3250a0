package fakeguests

import (
	"context"
	"net"
	"net/netip"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/lab/guests"
)

// addressesOf are the addresses that Nova shows of a server.
func addressesOf(shown servers.Server) []netip.Addr {
	var found []netip.Addr
	for _, network := range shown.Addresses {
		ports, _ := network.([]any)
		for _, port := range ports {
			fields, _ := port.(map[string]any)
			text, _ := fields["addr"].(string)
			if address, err := netip.ParseAddr(text); err == nil {
				found = append(found, address)
			}
		}
	}
	return found
}

// listenSSH opens the guest's SSH server, where its user-data asks for one, at those of
// its addresses where it is not open yet: the guest that had an address before may not
// be gone. It closes with the guest's end. host.mu is held.
func (g *guest) listenSSH() {
	listen := g.host.options.ListenSSH
	sshd := guests.NewSSHServer(g.userData, g.machine.File)
	if listen == nil || sshd == nil {
		return
	}
	for _, address := range g.addresses {
		if g.open[address] {
			continue
		}
		listener, err := listen(address)
		if err != nil {
			g.host.options.Log.WithError(err).WithField("server", g.name).Info("the guest's SSH server has to wait")
			continue
		}
		g.open[address] = true
		context.AfterFunc(g.ctx, func() { listener.Close() })
		go g.serveSSH(listener, sshd)
	}
}

// serveSSH takes connections until the listener is closed.
func (g *guest) serveSSH(listener net.Listener, sshd *guests.SSHServer) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		context.AfterFunc(g.ctx, func() { conn.Close() })
		go sshd.Serve(g.ctx, conn)
	}
}
