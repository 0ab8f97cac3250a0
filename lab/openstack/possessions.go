package openstack

import (
	"maps"
	"slices"
	"time"
)

// Possessions are what a cloud has, in the order of creation, whatever faults are in
// force.
type Possessions struct {
	Servers []Possession
	Groups  []Possession
	Ports   []Possession
	Images  []Possession
}

// Possession is one thing that a cloud has.
type Possession struct {
	ID, Name string
	// Project is the ID of whose it is.
	Project string
	// Description is a security group's.
	Description string
	// Server is the ID of a port's server; "": it has none.
	Server string
	// Groups are the IDs of a port's security groups.
	Groups []string
	// Status is a server's in Nova's words; Deleting is set once it goes.
	Status   string
	Deleting bool
	// Metadata are a server's, or the properties of an image.
	Metadata map[string]string
	Created  time.Time
}

// Possessions returns what the cloud has.
func (s *Server) Possessions() Possessions {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all Possessions
	for _, v := range s.servers {
		all.Servers = append(all.Servers, Possession{
			ID: v.id, Name: v.name, Project: v.project, Status: statuses[v.vmState], Deleting: v.taskState == "deleting",
			Metadata: maps.Clone(v.metadata), Created: v.created,
		})
	}
	for _, g := range s.groups {
		all.Groups = append(all.Groups, Possession{ID: g.id, Name: g.name, Project: g.project, Description: g.description})
	}
	for _, p := range s.ports {
		one := Possession{ID: p.id, Project: p.project, Groups: slices.Clone(p.groups)}
		if p.server != nil {
			one.Server = p.server.id
		}
		all.Ports = append(all.Ports, one)
	}
	for _, i := range s.images {
		all.Images = append(all.Images, Possession{ID: i.id, Name: i.name, Project: i.owner, Metadata: maps.Clone(i.properties), Created: i.created})
	}
	return all
}
