package lxd

import (
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// showACL is an ACL as the API shows it; s.mu is held.
func (s *Server) showACL(a *api.NetworkACL) api.NetworkACL {
	shown := *a
	shown.UsedBy = []string{}
	for name, n := range s.networks {
		if slices.Contains(aclsOf(n.Config), a.Name) {
			shown.UsedBy = append(shown.UsedBy, "/1.0/networks/"+name)
		}
	}
	slices.Sort(shown.UsedBy)
	return shown
}

func aclETag(a *api.NetworkACL) any {
	return []any{a.Name, a.Description, a.Egress, a.Ingress, a.Config}
}

func (s *Server) getACLs(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return list("/1.0/network-acls", s.acls, recursion(r) == "1", func(a *api.NetworkACL) any { return s.showACL(a) }), nil
}

func (s *Server) getACL(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acls[r.PathValue("name")]
	if a == nil {
		return answer{}, notFound("Network ACL")
	}
	return answer{metadata: s.showACL(a), etag: aclETag(a)}, nil
}

func (s *Server) postACLs(r *http.Request) (answer, error) {
	var post api.NetworkACLsPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acls[post.Name] != nil {
		return answer{}, refuse(http.StatusBadRequest, "The network ACL already exists")
	}
	if err := checkACLName(post.Name); err != nil {
		return answer{}, err
	}
	if err := s.checkRules(post.NetworkACLPut); err != nil {
		return answer{}, err
	}
	a := &api.NetworkACL{Name: post.Name}
	setACL(a, post.NetworkACLPut)
	s.acls[a.Name] = a
	s.keep(storedACLs, a.Name, a)
	s.events.lifecycle("network-acl-created", "network-acls/"+a.Name, nil, true)
	return answer{location: "/1.0/network-acls/" + a.Name}, nil
}

func checkACLName(name string) error {
	if name == "" {
		return says("Name is required")
	}
	if err := isHostLabel(name); err != nil {
		return err
	}
	return nil
}

func setACL(a *api.NetworkACL, put api.NetworkACLPut) {
	a.Description, a.Egress, a.Ingress, a.Config = put.Description, put.Egress, put.Ingress, put.Config
	if a.Egress == nil {
		a.Egress = []api.NetworkACLRule{}
	}
	if a.Ingress == nil {
		a.Ingress = []api.NetworkACLRule{}
	}
	if a.Config == nil {
		a.Config = map[string]string{}
	}
}

// checkRules checks an ACL's content; s.mu is held.
func (s *Server) checkRules(put api.NetworkACLPut) error {
	for key := range put.Config {
		if !strings.HasPrefix(key, "user.") {
			return says("Invalid network ACL configuration key %q", key)
		}
	}
	for direction, rules := range map[string][]api.NetworkACLRule{"ingress": put.Ingress, "egress": put.Egress} {
		for n, rule := range rules {
			if err := s.checkRule(rule); err != nil {
				return says("Invalid %s rule %d: %w", direction, n, err)
			}
		}
	}
	return nil
}

var port = regexp.MustCompile(`^\d+(-\d+)?$`)

func (s *Server) checkRule(rule api.NetworkACLRule) error {
	if !slices.Contains([]string{"allow", "drop", "reject"}, rule.Action) {
		return says("Action must be one of: allow, drop, reject")
	}
	if !slices.Contains([]string{"enabled", "disabled", "logged"}, rule.State) {
		return says("State must be one of: enabled, disabled, logged")
	}
	if err := s.checkSubjects(rule.Source); err != nil {
		return says("Invalid Source: %w", err)
	}
	if err := s.checkSubjects(rule.Destination); err != nil {
		return says("Invalid Destination: %w", err)
	}
	if !slices.Contains([]string{"", "icmp4", "icmp6", "tcp", "udp"}, rule.Protocol) {
		return says("Protocol must be one of: icmp4, icmp6, tcp, udp")
	}
	for which, ports := range map[string]string{"Source": rule.SourcePort, "Destination": rule.DestinationPort} {
		switch {
		case ports == "" || rule.Protocol == "tcp" || rule.Protocol == "udp":
		case rule.Protocol == "":
			return says("%s port cannot be used without specifying protocol", which)
		default:
			return says("%s port cannot be used with %q protocol", which, rule.Protocol)
		}
	}
	for _, p := range words(rule.SourcePort + "," + rule.DestinationPort) {
		if !port.MatchString(p) {
			return says("Invalid port number %q", p)
		}
	}
	return nil
}

func (s *Server) checkSubjects(subjects string) error {
	for _, subject := range words(subjects) {
		if !s.isSubject(subject) {
			return says("Invalid subject %q", subject)
		}
	}
	return nil
}

// isSubject: an address, a subnet, a range, one of two words, or an ACL.
func (s *Server) isSubject(subject string) bool {
	if _, err := netip.ParseAddr(subject); err == nil {
		return true
	}
	if _, err := netip.ParsePrefix(subject); err == nil {
		return true
	}
	if isRange(subject) == nil {
		return true
	}
	return subject == "@internal" || subject == "@external" || s.acls[subject] != nil
}

// words are the elements of a list with commas.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func (s *Server) putACL(r *http.Request) (answer, error) {
	return s.changeACL(r, func(*api.NetworkACL) api.NetworkACLPut { return api.NetworkACLPut{} })
}

func (s *Server) patchACL(r *http.Request) (answer, error) {
	return s.changeACL(r, func(a *api.NetworkACL) api.NetworkACLPut {
		return api.NetworkACLPut{Description: a.Description, Egress: a.Egress, Ingress: a.Ingress, Config: a.Config}
	})
}

// changeACL decodes the request over what start returns.
func (s *Server) changeACL(r *http.Request, start func(*api.NetworkACL) api.NetworkACLPut) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acls[r.PathValue("name")]
	if a == nil {
		return answer{}, notFound("Network ACL")
	}
	if err := checkETag(r, aclETag(a)); err != nil {
		return answer{}, err
	}
	put := start(a)
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	if err := s.checkRules(put); err != nil {
		return answer{}, err
	}
	setACL(a, put)
	s.keep(storedACLs, a.Name, a)
	s.events.lifecycle("network-acl-updated", "network-acls/"+a.Name, nil, true)
	return empty, nil
}

func (s *Server) deleteACL(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acls[r.PathValue("name")]
	if a == nil {
		return answer{}, notFound("Network ACL")
	}
	if len(s.showACL(a).UsedBy) > 0 {
		return answer{}, says("Cannot delete an ACL that is in use")
	}
	delete(s.acls, a.Name)
	s.forget(storedACLs, a.Name)
	s.events.lifecycle("network-acl-deleted", "network-acls/"+a.Name, nil, true)
	return empty, nil
}
