package openstack

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// group is a security group.
type group struct {
	id, name, description string
	project               string
	created               time.Time
	rules                 []*rule
}

// rule is a rule of a security group; nil fields stand for anything.
type rule struct {
	ID          string  `json:"id"`
	Group       string  `json:"security_group_id"`
	Direction   string  `json:"direction"`
	EtherType   string  `json:"ethertype"`
	Protocol    *string `json:"protocol"`
	PortMin     *int    `json:"port_range_min"`
	PortMax     *int    `json:"port_range_max"`
	RemoteCIDR  *string `json:"remote_ip_prefix"`
	RemoteGroup *string `json:"remote_group_id"`
	Description string  `json:"description"`
	Project     string  `json:"project_id"`
}

// newGroup is a group with the rules that every new one has: all may go out.
func newGroup(projectID, name, description string) *group {
	g := &group{id: newUUID(), name: name, description: description, project: projectID, created: time.Now()}
	for _, family := range []string{"IPv4", "IPv6"} {
		g.rules = append(g.rules, &rule{ID: newUUID(), Group: g.id, Direction: "egress", EtherType: family, Project: projectID})
	}
	return g
}

func (g *group) show() object {
	rules := make([]object, 0, len(g.rules))
	for _, r := range g.rules {
		rules = append(rules, r.show(g))
	}
	return object{
		"id": g.id, "name": g.name, "description": g.description, "project_id": g.project, "tenant_id": g.project,
		"stateful": true, "shared": false, "tags": []string{}, "revision_number": 1, "security_group_rules": rules,
		"created_at": zulu(g.created), "updated_at": zulu(g.created),
	}
}

func (r *rule) show(g *group) object {
	return object{
		"id": r.ID, "security_group_id": r.Group, "direction": r.Direction, "ethertype": r.EtherType, "protocol": r.Protocol,
		"port_range_min": r.PortMin, "port_range_max": r.PortMax, "remote_ip_prefix": r.RemoteCIDR, "remote_group_id": r.RemoteGroup,
		"remote_address_group_id": nil, "description": r.Description, "project_id": r.Project, "tenant_id": r.Project,
		"revision_number": 0, "tags": []string{}, "created_at": zulu(g.created), "updated_at": zulu(g.created),
	}
}

func (s *Server) myGroups(projectID string) []object {
	var shown []object
	for _, g := range s.groups {
		if g.project == projectID {
			shown = append(shown, g.show())
		}
	}
	return shown
}

func (s *Server) myRules(projectID string) []object {
	var shown []object
	for _, g := range s.groups {
		if g.project != projectID {
			continue
		}
		for _, r := range g.rules {
			shown = append(shown, r.show(g))
		}
	}
	return shown
}

// findGroup finds a project's group; s.mu is held.
func (s *Server) findGroup(projectID, id string) (*group, error) {
	at := slices.IndexFunc(s.groups, func(g *group) bool { return g.id == id && g.project == projectID })
	if at < 0 {
		return nil, neutron(http.StatusNotFound, "SecurityGroupNotFound", "Security group %s does not exist", id)
	}
	return s.groups[at], nil
}

// defaultGroup is the group that every project has; s.mu is held.
func (s *Server) defaultGroup(projectID string) *group {
	for _, g := range s.groups {
		if g.project == projectID && g.name == "default" {
			return g
		}
	}
	return nil // there is no such project
}

// wantedGroups are those that a POST of a server means, by name or ID; s.mu is held.
func (s *Server) wantedGroups(projectID string, wanted []string) ([]*group, error) {
	if len(wanted) == 0 {
		return []*group{s.defaultGroup(projectID)}, nil
	}
	var found []*group
	for _, text := range wanted {
		if g, err := s.findGroup(projectID, text); err == nil {
			found = append(found, g)
			continue
		}
		var called []*group
		for _, g := range s.groups {
			if g.project == projectID && g.name == text {
				called = append(called, g)
			}
		}
		switch len(called) {
		case 0:
			return nil, refuse(http.StatusBadRequest, "Unable to find security_group with name or id '%s'", text)
		case 1:
			found = append(found, called[0])
		default:
			return nil, refuse(http.StatusConflict, "Multiple security_group matches found for name '%s', use an ID to be more specific.", text)
		}
	}
	return found, nil
}

// groupNames are the security groups that a server shows; s.mu is held.
func (s *Server) groupNames(v *server) []object {
	names := make([]object, 0, len(v.groups))
	for _, g := range v.groups {
		names = append(names, object{"name": g.name})
	}
	return names
}

func overQuota(resource string) error {
	return neutron(http.StatusConflict, "OverQuota", "Quota exceeded for resources: ['%s'].", resource)
}

func (s *Server) postGroup(c call) (answer, error) {
	var post struct {
		Group struct {
			Name        string `json:"name"`
			Description string `json:"description"`
			Project     string `json:"project_id"`
			Tenant      string `json:"tenant_id"`
			Stateful    *bool  `json:"stateful"`
		} `json:"security_group"`
	}
	if err := decode(c, &post); err != nil {
		return answer{}, err
	}
	p := c.project()
	switch whose := cmp.Or(cmp.Or(post.Group.Project, post.Group.Tenant), p.id); {
	case whose != p.id:
		return answer{}, neutron(http.StatusForbidden, "HTTPForbidden", "Specifying 'tenant_id' other than authenticated tenant in request requires admin privileges")
	case len(post.Group.Name) > maxText:
		return answer{}, neutron(http.StatusBadRequest, "HTTPBadRequest", "Invalid input for name. Reason: '%s' exceeds maximum length of %d.", post.Group.Name, maxText)
	case strings.EqualFold(post.Group.Name, "default"):
		return answer{}, neutron(http.StatusConflict, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !within(p.Quota.SecurityGroups, s.usage(p.id).SecurityGroups+1) {
		return answer{}, overQuota("security_group")
	}
	g := newGroup(p.id, post.Group.Name, post.Group.Description)
	s.groups = append(s.groups, g)
	return answer{status: http.StatusCreated, body: object{"security_group": g.show()}}, nil
}

func (s *Server) deleteGroup(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.findGroup(c.project().id, c.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if g.name == "default" {
		return answer{}, neutron(http.StatusConflict, "SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
	}
	if slices.ContainsFunc(s.ports, func(p *port) bool { return slices.Contains(p.groups, g.id) }) {
		return answer{}, neutron(http.StatusConflict, "SecurityGroupInUse", "Security Group %s in use.", g.id)
	}
	s.groups = slices.DeleteFunc(s.groups, func(one *group) bool { return one == g })
	return answer{status: http.StatusNoContent}, nil
}

func (s *Server) postRule(c call) (answer, error) {
	var post struct {
		Rule rule `json:"security_group_rule"`
	}
	if err := decode(c, &post); err != nil {
		return answer{}, err
	}
	r := post.Rule
	if err := r.check(); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.project()
	g, err := s.findGroup(p.id, r.Group)
	if err != nil {
		return answer{}, err
	}
	for _, one := range g.rules {
		if one.same(&r) {
			return answer{}, neutron(http.StatusConflict, "SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", one.ID)
		}
	}
	if !within(p.Quota.SecurityGroupRules, s.usage(p.id).SecurityGroupRules+1) {
		return answer{}, overQuota("security_group_rule")
	}
	r.ID, r.Project = newUUID(), p.id
	g.rules = append(g.rules, &r)
	return answer{status: http.StatusCreated, body: object{"security_group_rule": r.show(g)}}, nil
}

// portProtocols are the protocols that have ports.
var portProtocols = []string{"tcp", "udp", "sctp", "dccp", "udplite", "6", "17"}

// protocols are those that have a name.
var protocols = append([]string{"icmp", "icmpv6", "ipv6-icmp", "ah", "esp", "gre", "igmp", "vrrp", "ospf", "1", "58"}, portProtocols...)

// check refuses rules that make no sense, and says what an unset field means.
func (r *rule) check() error {
	r.EtherType = cmp.Or(r.EtherType, "IPv4")
	choice := func(field, value string, choices string) error {
		return neutron(http.StatusBadRequest, "HTTPBadRequest", "Invalid input for %s. Reason: '%s' is not in [%s].", field, value, choices)
	}
	ported := r.Protocol != nil && slices.Contains(portProtocols, *r.Protocol)
	switch {
	case r.Direction != "ingress" && r.Direction != "egress":
		return choice("direction", r.Direction, "'ingress', 'egress'")
	case r.EtherType != "IPv4" && r.EtherType != "IPv6":
		return choice("ethertype", r.EtherType, "'IPv4', 'IPv6'")
	case r.Protocol != nil && !slices.Contains(protocols, *r.Protocol):
		return neutron(http.StatusBadRequest, "SecurityGroupRuleInvalidProtocol",
			"Security group rule protocol %s not supported. Only protocol values %v and integer representations [0 to 255] are supported.", *r.Protocol, protocols)
	case r.Protocol == nil && (r.PortMin != nil || r.PortMax != nil):
		return neutron(http.StatusBadRequest, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	case ported && (r.PortMin == nil) != (r.PortMax == nil), ported && r.PortMin != nil && *r.PortMin > *r.PortMax:
		return neutron(http.StatusBadRequest, "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
	case r.RemoteCIDR != nil && r.RemoteGroup != nil:
		return neutron(http.StatusBadRequest, "SecurityGroupMultipleRemoteEntites", "Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	case r.RemoteCIDR == nil:
		return nil
	}
	return r.checkRemote()
}

func (r *rule) checkRemote() error {
	text := *r.RemoteCIDR
	prefix, err := netip.ParsePrefix(text)
	if address, single := netip.ParseAddr(text); err != nil && single == nil {
		prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	if err != nil {
		return neutron(http.StatusBadRequest, "HTTPBadRequest", "Invalid input for remote_ip_prefix. Reason: '%s' is not a valid IP subnet.", text)
	}
	if prefix.Addr().Is4() != (r.EtherType == "IPv4") {
		return neutron(http.StatusBadRequest, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, text)
	}
	normal := prefix.Masked().String()
	r.RemoteCIDR = &normal
	return nil
}

// same reports whether two rules let the same through.
func (r *rule) same(other *rule) bool {
	return r.Direction == other.Direction && r.EtherType == other.EtherType &&
		equal(r.Protocol, other.Protocol) && equal(r.PortMin, other.PortMin) && equal(r.PortMax, other.PortMax) &&
		equal(r.RemoteCIDR, other.RemoteCIDR) && equal(r.RemoteGroup, other.RemoteGroup)
}

func equal[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func (s *Server) deleteRule(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		at := slices.IndexFunc(g.rules, func(r *rule) bool { return r.ID == c.PathValue("id") })
		if at >= 0 && g.project == c.project().id {
			g.rules = slices.Delete(g.rules, at, at+1)
			return answer{status: http.StatusNoContent}, nil
		}
	}
	return answer{}, neutron(http.StatusNotFound, "SecurityGroupRuleNotFound", "Security group rule %s does not exist", c.PathValue("id"))
}
