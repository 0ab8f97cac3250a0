package lxd

import (
	"maps"
	"slices"

	"github.com/canonical/lxd/shared/api"
)

// Possessions are what a daemon has, sorted by name or
// fingerprint.
type Possessions struct {
	Instances []api.Instance
	Images    []api.Image
	Networks  []string
	ACLs      []string
	Pools     []string
	Profiles  []string
}

// Possessions returns what the daemon has, whatever faults are in force.
func (s *Server) Possessions() Possessions {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Possessions{
		Networks: slices.Sorted(maps.Keys(s.networks)),
		ACLs:     slices.Sorted(maps.Keys(s.acls)),
		Pools:    slices.Sorted(maps.Keys(s.pools)),
		Profiles: slices.Sorted(maps.Keys(s.profiles)),
	}
	for _, name := range slices.Sorted(maps.Keys(s.instances)) {
		all.Instances = append(all.Instances, s.instances[name].show(s))
	}
	for _, fingerprint := range slices.Sorted(maps.Keys(s.images)) {
		all.Images = append(all.Images, s.images[fingerprint].Image)
	}
	return all
}
