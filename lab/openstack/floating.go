package openstack

import (
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// floatingIP is an address of an external network, which may lead to a port.
type floatingIP struct {
	id, project string
	network     *network
	address     netip.Addr
	port        *port
	description string
	created     time.Time
}

func (f *floatingIP) show() object {
	shown := object{
		"id": f.id, "project_id": f.project, "tenant_id": f.project, "floating_network_id": f.network.id,
		"floating_ip_address": f.address.String(), "port_id": nil, "fixed_ip_address": nil, "router_id": nil, "status": "DOWN",
		"description": f.description, "tags": []string{}, "revision_number": 0,
		"created_at": zulu(f.created), "updated_at": zulu(f.created),
	}
	if f.port != nil {
		shown["port_id"], shown["fixed_ip_address"], shown["status"] = f.port.id, f.port.address.String(), "ACTIVE"
	}
	return shown
}

func (s *Server) myFloatingIPs(projectID string) []object {
	var shown []object
	for _, f := range s.floating {
		if f.project == projectID {
			shown = append(shown, f.show())
		}
	}
	return shown
}

func (s *Server) postFloatingIP(c call) (answer, error) {
	var post struct {
		IP struct {
			Network     string `json:"floating_network_id"`
			Port        string `json:"port_id"`
			Description string `json:"description"`
		} `json:"floatingip"`
	}
	if err := decode(c, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.project()
	at := slices.IndexFunc(s.networks, func(n *network) bool { return n.id == post.IP.Network && n.visible(p.id) })
	switch {
	case at < 0:
		return answer{}, neutron(http.StatusNotFound, "NetworkNotFound", "Network %s could not be found.", post.IP.Network)
	case !s.networks[at].External:
		return answer{}, neutron(http.StatusBadRequest, "BadRequest", "Bad floatingip request: Network %s is not a valid external network.", post.IP.Network)
	case !within(p.Quota.FloatingIPs, s.usage(p.id).FloatingIPs+1):
		return answer{}, overQuota("floatingip")
	}
	f := &floatingIP{id: newUUID(), project: p.id, network: s.networks[at], description: post.IP.Description, created: time.Now()}
	if post.IP.Port != "" {
		var err error
		if f.port, err = s.findPort(p.id, post.IP.Port); err != nil {
			return answer{}, err
		}
	}
	address, ok := f.network.take()
	if !ok {
		return answer{}, neutron(http.StatusConflict, "IpAddressGenerationFailure", "No more IP addresses available on network %s.", f.network.id)
	}
	f.address = address
	s.floating = append(s.floating, f)
	return answer{status: http.StatusCreated, body: object{"floatingip": f.show()}}, nil
}

func (s *Server) deleteFloatingIP(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.floating, func(f *floatingIP) bool { return f.id == c.PathValue("id") && f.project == c.project().id })
	if at < 0 {
		return answer{}, neutron(http.StatusNotFound, "FloatingIPNotFound", "Floating IP %s could not be found", c.PathValue("id"))
	}
	delete(s.floating[at].network.used, s.floating[at].address)
	s.floating = slices.Delete(s.floating, at, at+1)
	return answer{status: http.StatusNoContent}, nil
}
