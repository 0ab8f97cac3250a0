package github

import (
	"fmt"
	"net/http"
	"strings"
)

// Group is a runner group of an organisation.
type Group struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Default bool   `json:"default"`
}

// groupsOf returns an organisation's groups; any organisation has the default
// one. The lock is held.
func (s *Server) groupsOf(organization string) []*Group {
	all := []*Group{{ID: defaultGroupID, Name: "Default", Default: true}}
	return append(all, s.groups[strings.ToLower(organization)]...)
}

// AddGroup makes a runner group.
func (s *Server) AddGroup(organization, name string) (Group, error) {
	if organization == "" || strings.Contains(organization, "/") || name == "" {
		return Group{}, fmt.Errorf("cannot add group: it needs a name, and an organisation without a slash")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, group := range s.groupsOf(organization) {
		if strings.EqualFold(group.Name, name) {
			return Group{}, fmt.Errorf("cannot add group: %s has a group %q", organization, name)
		}
	}
	group := &Group{ID: s.nextID(), Name: name}
	key := strings.ToLower(organization)
	s.groups[key] = append(s.groups[key], group)
	return *group, nil
}

// RemoveGroup removes a runner group; its runners stay.
func (s *Server) RemoveGroup(organization, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(organization)
	for i, group := range s.groups[key] {
		if strings.EqualFold(group.Name, name) {
			s.groups[key] = append(s.groups[key][:i:i], s.groups[key][i+1:]...)
			return nil
		}
	}
	return fmt.Errorf("cannot remove group: %s has no group %q that could be removed", organization, name)
}

// groupStatus is the answer to who registers in a group. The lock is held.
func (s *Server) groupStatus(scope string, id int64) int {
	if id == defaultGroupID {
		return http.StatusOK
	}
	if id == closedGroupID {
		return http.StatusForbidden
	}
	if !strings.Contains(scope, "/") {
		for _, group := range s.groups[scope] {
			if group.ID == id {
				return http.StatusOK
			}
		}
	}
	return http.StatusNotFound
}

func (s *Server) listGroups(c *apiCall) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.groupsOf(c.PathValue("org"))
	some, header := page(c, all)
	return reply{http.StatusOK, header, map[string]any{"total_count": len(all), "runner_groups": some}}
}
