package openstack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const networkPath = "/network"

func neutronRefusal(r refusal) any {
	return object{"NeutronError": object{"type": cmp.Or(r.kind, "HTTPBadRequest"), "message": r.message, "detail": ""}}
}

// neutron is a refusal with the type that Neutron gives it.
func neutron(status int, kind, format string, args ...any) error {
	return refusal{status: status, kind: kind, message: fmt.Sprintf(format, args...)}
}

func (s *Server) network() *service {
	v := &service{
		name: "neutron", kind: "network", root: networkPath, path: networkPath,
		refuse: neutronRefusal,
		broken: "Request Failed: internal server error while processing your request.",
	}
	s.route(v, true, map[string]handler{
		"GET /{$}":      s.getNetworkVersions,
		"GET /v2.0/{$}": s.getNetworkVersion,
	})
	s.route(v, false, map[string]handler{
		"GET /v2.0/networks":                     listOf(s, "networks", s.myNetworks),
		"GET /v2.0/networks/{id}":                showOne(s, "network", "Network %s could not be found.", s.myNetworks),
		"GET /v2.0/subnets":                      listOf(s, "subnets", s.mySubnets),
		"GET /v2.0/subnets/{id}":                 showOne(s, "subnet", "Subnet %s could not be found.", s.mySubnets),
		"GET /v2.0/ports":                        listOf(s, "ports", s.myPorts),
		"GET /v2.0/ports/{id}":                   showOne(s, "port", "Port %s could not be found.", s.myPorts),
		"DELETE /v2.0/ports/{id}":                s.deletePort,
		"GET /v2.0/security-groups":              listOf(s, "security_groups", s.myGroups),
		"GET /v2.0/security-groups/{id}":         showOne(s, "security_group", "Security group %s does not exist", s.myGroups),
		"POST /v2.0/security-groups":             s.postGroup,
		"DELETE /v2.0/security-groups/{id}":      s.deleteGroup,
		"GET /v2.0/security-group-rules":         listOf(s, "security_group_rules", s.myRules),
		"GET /v2.0/security-group-rules/{id}":    showOne(s, "security_group_rule", "Security group rule %s does not exist", s.myRules),
		"POST /v2.0/security-group-rules":        s.postRule,
		"DELETE /v2.0/security-group-rules/{id}": s.deleteRule,
		"GET /v2.0/floatingips":                  listOf(s, "floatingips", s.myFloatingIPs),
		"GET /v2.0/floatingips/{id}":             showOne(s, "floatingip", "Floating IP %s could not be found", s.myFloatingIPs),
		"POST /v2.0/floatingips":                 s.postFloatingIP,
		"DELETE /v2.0/floatingips/{id}":          s.deleteFloatingIP,
		"GET /v2.0/quotas/{id}":                  s.getNetworkQuota,
	})
	return v
}

func networkVersion(c call) object {
	return object{"id": "v2.0", "status": "CURRENT", "links": []any{link("self", c.base()+networkPath+"/v2.0/")}}
}

func (s *Server) getNetworkVersions(c call) (answer, error) {
	return answer{body: object{"versions": []any{networkVersion(c)}}}, nil
}

// getNetworkVersion lists what the API has; the emulation has no extensions to tell of.
func (s *Server) getNetworkVersion(call) (answer, error) {
	return answer{body: object{"resources": []any{}}}, nil
}

// things are what a project sees of one kind; s.mu is held.
type things func(projectID string) []object

// listOf lists what a project sees of one kind, filtered by the fields that the
// query names.
func listOf(s *Server, name string, mine things) handler {
	return func(c call) (answer, error) {
		s.mu.Lock()
		all := mine(c.project().id)
		s.mu.Unlock()
		query := c.URL.Query()
		all = slices.DeleteFunc(all, func(one object) bool { return !fits(one, query) })
		limit := len(all) + 1
		if text := query.Get("limit"); text != "" {
			var err error
			if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
				return answer{}, neutron(http.StatusBadRequest, "BadRequest", "Bad limit request: The limit must be an integer greater than or equal to 0.")
			}
			if limit == 0 {
				limit = len(all) + 1 // it means none
			}
		}
		marker := query.Get("marker")
		part, more, ok := page(all, func(one object) string { return one["id"].(string) }, marker, limit)
		if !ok {
			return answer{}, neutron(http.StatusNotFound, "HTTPNotFound", "The resource could not be found.")
		}
		body := object{name: append([]object{}, part...)}
		if more != "" {
			query.Set("marker", more)
			body[name+"_links"] = []any{link("next", c.base()+c.URL.Path+"?"+query.Encode())}
		}
		return answer{body: body}, nil
	}
}

// fits reports whether a thing has one of the values of each field that a query names.
func fits(one object, query url.Values) bool {
	for key, values := range query {
		switch key {
		case "limit", "marker", "fields", "sort_key", "sort_dir", "page_reverse":
			continue
		}
		if !slices.ContainsFunc(values, func(value string) bool { return strings.EqualFold(fmt.Sprint(one[key]), value) }) {
			return false
		}
	}
	return true
}

func showOne(s *Server, name, missing string, mine things) handler {
	kinds := map[string]string{
		"network": "NetworkNotFound", "subnet": "SubnetNotFound", "port": "PortNotFound", "floatingip": "FloatingIPNotFound",
		"security_group": "SecurityGroupNotFound", "security_group_rule": "SecurityGroupRuleNotFound",
	}
	return func(c call) (answer, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, one := range mine(c.project().id) {
			if one["id"] == c.PathValue("id") {
				return answer{body: object{name: one}}, nil
			}
		}
		return answer{}, neutron(http.StatusNotFound, kinds[name], missing, c.PathValue("id"))
	}
}

// network is a network with its subnet.
type network struct {
	Network
	id, subnet string
	owner      string
	prefix     netip.Prefix
	created    time.Time
	// used are the addresses that are taken; next is where to look for a free one.
	used map[netip.Addr]bool
	next netip.Addr
}

func newNetwork(one Network, owner string, prefix netip.Prefix) *network {
	prefix = prefix.Masked()
	gateway := prefix.Addr().Next()
	return &network{
		Network: one, id: newUUID(), subnet: newUUID(), owner: owner, prefix: prefix, created: time.Now(),
		used: map[netip.Addr]bool{gateway: true}, next: gateway,
	}
}

// shared networks are for all projects.
func (n *network) shared() bool { return n.owner == nobody && !n.External }

func (n *network) visible(projectID string) bool {
	return n.owner == projectID || n.owner == nobody
}

// take takes a free address; ok is false when none is left.
func (n *network) take() (address netip.Addr, ok bool) {
	for range 2 {
		for n.next = n.next.Next(); n.prefix.Contains(n.next) && n.prefix.Contains(n.next.Next()); n.next = n.next.Next() {
			if !n.used[n.next] {
				n.used[n.next] = true
				return n.next, true
			}
		}
		n.next = n.prefix.Addr()
	}
	return netip.Addr{}, false
}

func (n *network) show() object {
	return object{
		"id": n.id, "name": n.Name, "project_id": n.owner, "tenant_id": n.owner, "status": "ACTIVE", "admin_state_up": true,
		"shared": n.shared(), "router:external": n.External, "subnets": []string{n.subnet}, "mtu": 1500,
		"description": "", "tags": []string{}, "availability_zone_hints": []string{}, "revision_number": 1,
		"port_security_enabled": true, "created_at": zulu(n.created), "updated_at": zulu(n.created),
	}
}

func (n *network) showSubnet() object {
	return object{
		"id": n.subnet, "name": n.Name, "network_id": n.id, "project_id": n.owner, "tenant_id": n.owner, "ip_version": 4,
		"cidr": n.prefix.String(), "gateway_ip": n.prefix.Addr().Next().String(), "enable_dhcp": true,
		"dns_nameservers": []string{}, "allocation_pools": []any{}, "host_routes": []any{}, "tags": []string{},
	}
}

// shownNetworks are the networks that a project sees, each by show; s.mu is held.
func (s *Server) shownNetworks(projectID string, show func(*network) object) []object {
	var shown []object
	for _, n := range s.networks {
		if n.visible(projectID) {
			shown = append(shown, show(n))
		}
	}
	return shown
}

func (s *Server) myNetworks(projectID string) []object {
	return s.shownNetworks(projectID, (*network).show)
}

func (s *Server) mySubnets(projectID string) []object {
	return s.shownNetworks(projectID, (*network).showSubnet)
}

// attachable are the networks that a project's servers may have; s.mu is held.
func (s *Server) attachable(projectID string) []*network {
	var all []*network
	for _, n := range s.networks {
		if n.visible(projectID) && !n.External {
			all = append(all, n)
		}
	}
	return all
}

// wantedNetworks are those that a POST of a server means; s.mu is held.
func (s *Server) wantedNetworks(c call, wanted json.RawMessage) ([]*network, error) {
	mine := s.attachable(c.project().id)
	var word string
	if wanted == nil || json.Unmarshal(wanted, &word) == nil {
		switch {
		case word == "none":
			return nil, nil
		case word != "" && word != "auto":
			return nil, invalid("networks", word, "'%s' is not one of ['none', 'auto']", word)
		case len(mine) > 1:
			return nil, refuse(http.StatusConflict, "Multiple possible networks found, use a Network ID to be more specific.")
		}
		return mine, nil
	}
	var ids []struct {
		UUID    string `json:"uuid"`
		Port    any    `json:"port"`
		FixedIP any    `json:"fixed_ip"`
		Tag     any    `json:"tag"`
	}
	if err := json.Unmarshal(wanted, &ids); err != nil {
		return nil, invalid("networks", string(wanted), "it is not valid under any of the given schemas")
	}
	var found []*network
	for _, one := range ids {
		at := slices.IndexFunc(s.networks, func(n *network) bool { return n.id == one.UUID && n.visible(c.project().id) })
		switch {
		case one.Port != nil || one.FixedIP != nil || one.Tag != nil:
			return nil, errNotEmulated("choosing of ports, addresses and tags")
		case !isUUID(one.UUID):
			return nil, invalid("uuid", one.UUID, "'%s' is not a 'uuid'", one.UUID)
		case at < 0:
			return nil, refuse(http.StatusBadRequest, "Network %s could not be found.", one.UUID)
		case s.networks[at].External:
			return nil, refuse(http.StatusForbidden, "It is not allowed to create an interface on external network %s", one.UUID)
		}
		found = append(found, s.networks[at])
	}
	return found, nil
}

// port is a server's connection to a network.
type port struct {
	id, project string
	network     *network
	address     netip.Addr
	mac         string
	// server is what it is plugged into; nil: nothing.
	server  *server
	groups  []string
	created time.Time
}

func (p *port) show() object {
	device := ""
	if p.server != nil {
		device = p.server.id
	}
	return object{
		"id": p.id, "name": "", "project_id": p.project, "tenant_id": p.project, "network_id": p.network.id, "status": "ACTIVE",
		"admin_state_up": true, "mac_address": p.mac, "device_id": device, "device_owner": "compute:nova",
		"fixed_ips":       []object{{"subnet_id": p.network.subnet, "ip_address": p.address.String()}},
		"security_groups": slices.Clone(p.groups), "allowed_address_pairs": []any{}, "tags": []string{}, "description": "",
		"revision_number": 1, "created_at": zulu(p.created), "updated_at": zulu(p.created), "port_security_enabled": true,
	}
}

func (s *Server) myPorts(projectID string) []object {
	var shown []object
	for _, p := range s.ports {
		if p.project == projectID {
			shown = append(shown, p.show())
		}
	}
	return shown
}

// plug connects a server to its networks; it reports whether there was an address
// for each; s.mu is held.
func (s *Server) plug(v *server) bool {
	for _, n := range v.networks {
		address, ok := n.take()
		if !ok {
			s.unplug(v, false)
			return false
		}
		id := newUUID()
		p := &port{
			id: id, project: v.project, network: n, address: address, server: v, created: time.Now(),
			mac: "fa:16:3e:" + id[:2] + ":" + id[2:4] + ":" + id[4:6],
		}
		for _, g := range v.groups {
			p.groups = append(p.groups, g.id)
		}
		s.ports, v.ports = append(s.ports, p), append(v.ports, p)
	}
	return true
}

// unplug takes a server's ports away, or leaves them as they are, which name a device
// that is gone then; s.mu is held.
func (s *Server) unplug(v *server, keep bool) {
	its := v.ports
	v.ports = nil
	if keep {
		return
	}
	for _, p := range its {
		p.server = nil
		s.dropPort(p)
	}
}

// dropPort removes a port; a floating address stays, without one; s.mu is held.
func (s *Server) dropPort(p *port) {
	delete(p.network.used, p.address)
	s.ports = slices.DeleteFunc(s.ports, func(one *port) bool { return one == p })
	if p.server != nil {
		p.server.ports = slices.DeleteFunc(p.server.ports, func(one *port) bool { return one == p })
	}
	for _, f := range s.floating {
		if f.port == p {
			f.port = nil
		}
	}
}

// findPort finds a project's port; s.mu is held.
func (s *Server) findPort(projectID, id string) (*port, error) {
	at := slices.IndexFunc(s.ports, func(p *port) bool { return p.id == id && p.project == projectID })
	if at < 0 {
		return nil, neutron(http.StatusNotFound, "PortNotFound", "Port %s could not be found.", id)
	}
	return s.ports[at], nil
}

func (s *Server) deletePort(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPort(c.project().id, c.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	s.dropPort(p)
	return answer{status: http.StatusNoContent}, nil
}

// addresses are those of a server, by network; s.mu is held.
func (s *Server) addresses(v *server) map[string][]object {
	all := make(map[string][]object)
	for _, p := range v.ports {
		entry := func(address netip.Addr, kind string) object {
			return object{"version": 4, "addr": address.String(), "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": p.mac}
		}
		all[p.network.Name] = append(all[p.network.Name], entry(p.address, "fixed"))
		for _, f := range s.floating {
			if f.port == p {
				all[p.network.Name] = append(all[p.network.Name], entry(f.address, "floating"))
			}
		}
	}
	return all
}

func (s *Server) getNetworkQuota(c call) (answer, error) {
	p := c.project()
	if c.PathValue("id") != p.id {
		return answer{}, neutron(http.StatusForbidden, "AdminRequired", "User does not have admin privileges: Only admin is authorized to access quotas for another tenant.")
	}
	return answer{body: object{"quota": object{
		"security_group": p.Quota.SecurityGroups, "security_group_rule": p.Quota.SecurityGroupRules,
		"port": p.Quota.Ports, "floatingip": p.Quota.FloatingIPs,
	}}}, nil
}
