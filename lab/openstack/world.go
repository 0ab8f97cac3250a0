package openstack

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// World is what there is in a cloud at first.
type World struct {
	// Projects are who uses the cloud. The first user of a project owns what there
	// is in it at first.
	Projects []Project
	Flavors  []Flavor
	Networks []Network
	Images   []Image
	// Servers are there, ACTIVE, of the first flavor, network and image that
	// their project may use.
	Servers []Neighbour
}

func (w World) empty() bool {
	return len(w.Projects)+len(w.Flavors)+len(w.Networks)+len(w.Images)+len(w.Servers) == 0
}

// Project is a project of the domain Default.
type Project struct {
	Name        string
	Users       []User
	Credentials []Credential
	Quota       Quota
}

// User is a member of a project.
type User struct {
	Name     string
	Password string
}

// Credential is an application credential of a user.
type Credential struct {
	ID, Name, Secret string
	User             string
}

// Quota is how much a project may have; -1: without a limit. RAM is in MiB.
type Quota struct {
	Instances, Cores, RAM              int
	SecurityGroups, SecurityGroupRules int
	Ports, FloatingIPs                 int
	MetadataItems                      int
}

// DefaultQuota is what a project has in a cloud where nobody changed it.
func DefaultQuota() Quota {
	return Quota{
		Instances: 10, Cores: 20, RAM: 51200, SecurityGroups: 10, SecurityGroupRules: 100,
		Ports: 500, FloatingIPs: 50, MetadataItems: 128,
	}
}

// Flavor is a size of servers; RAM is in MiB, Disk in GiB.
type Flavor struct {
	ID, Name         string
	VCPUs, RAM, Disk int
}

// Network is a network with one subnet.
type Network struct {
	Name string
	// Project is whose it is; "": it is shared by all.
	Project string
	CIDR    string
	// External networks have floating addresses, and no servers.
	External bool
}

// Image is an image that is active.
type Image struct {
	Name string
	// Project is whose it is; "": it is public.
	Project string
	// MinDisk is in GiB.
	MinDisk    int
	Properties map[string]string
}

// Neighbour is a server that is there at first.
type Neighbour struct {
	Name, Project string
}

// FirstWorld is a cloud with the project lab, which has room for many runners, and
// another one, which has things of other people.
func FirstWorld() World {
	roomy := Quota{
		Instances: 2000, Cores: 16000, RAM: 64000000, SecurityGroups: 10, SecurityGroupRules: 100,
		Ports: 5000, FloatingIPs: 50, MetadataItems: 128,
	}
	return World{
		Projects: []Project{
			{
				Name: "lab", Users: []User{{"lab", "lab-password"}}, Quota: roomy,
				Credentials: []Credential{{ID: "5f6d7c2be0f84ad8b6fc1b8ba63c1a31", Name: "runners", Secret: "lab-secret", User: "lab"}},
			},
			{Name: "other", Users: []User{{"other", "other-password"}}, Quota: DefaultQuota()},
		},
		Flavors: []Flavor{
			{"1", "m1.tiny", 1, 512, 1}, {"2", "m1.small", 1, 2048, 20},
			{"3", "m1.medium", 2, 4096, 40}, {"4", "m1.large", 4, 8192, 80},
		},
		Networks: []Network{
			{Name: "lab", CIDR: "10.20.0.0/16"},
			{Name: "private", Project: "other", CIDR: "192.168.7.0/24"},
			{Name: "ext", CIDR: "203.0.113.0/24", External: true},
		},
		Images: []Image{
			{Name: "jammy", MinDisk: 1, Properties: map[string]string{"os_distro": "ubuntu", "os_version": "22.04"}},
			{Name: "noble", MinDisk: 1, Properties: map[string]string{"os_distro": "ubuntu", "os_version": "24.04"}},
			{Name: "appliance", Project: "other"},
		},
		Servers: []Neighbour{{"database", "other"}, {"bastion", "lab"}},
	}
}

// project is a project with those who belong to it.
type project struct {
	Project
	id    string
	users map[string]*user
}

type user struct {
	id, name, password string
}

// nobody is the project of what belongs to the cloud itself.
const nobody = "00000000000000000000000000000000"

// furnish makes what there is at first.
func (s *Server) furnish(w World) error {
	byName := map[string]*project{"": {id: nobody}}
	for _, one := range w.Projects {
		p := &project{Project: one, id: nameID("project", one.Name), users: make(map[string]*user)}
		for _, u := range one.Users {
			p.users[u.Name] = &user{id: nameID("user", u.Name), name: u.Name, password: u.Password}
		}
		for _, credential := range one.Credentials {
			if p.users[credential.User] == nil {
				return fmt.Errorf("cannot make the application credential %q: the project %q has no user %q", credential.Name, one.Name, credential.User)
			}
		}
		s.projects[p.id], byName[one.Name] = p, p
		s.groups = append(s.groups, newGroup(p.id, "default", "Default security group"))
	}
	for _, flavor := range w.Flavors {
		s.flavors = append(s.flavors, &flavor)
	}
	for _, one := range w.Networks {
		owner := byName[one.Project]
		prefix, err := netip.ParsePrefix(one.CIDR)
		if err != nil || owner == nil || !prefix.Addr().Is4() {
			return fmt.Errorf("cannot make the network %q of the project %q with the CIDR %q", one.Name, one.Project, one.CIDR)
		}
		s.networks = append(s.networks, newNetwork(one, owner.id, prefix))
	}
	for _, one := range w.Images {
		owner := byName[one.Project]
		if owner == nil {
			return fmt.Errorf("cannot make the image %q: there is no project %q", one.Name, one.Project)
		}
		s.addFirstImage(one, owner.id)
	}
	for _, one := range w.Servers {
		owner := byName[one.Project]
		if owner == nil {
			return fmt.Errorf("cannot make the server %q: there is no project %q", one.Name, one.Project)
		}
		if err := s.addNeighbour(one, owner); err != nil {
			return err
		}
	}
	return nil
}

// addNeighbour makes a server that is there at first.
func (s *Server) addNeighbour(one Neighbour, owner *project) error {
	networks, images := s.attachable(owner.id), s.visibleImages(owner.id)
	if len(owner.Users) == 0 || len(s.flavors) == 0 || len(networks) == 0 || len(images) == 0 {
		return fmt.Errorf("cannot make the server %q: its project %q lacks a user, flavor, network or image", one.Name, one.Project)
	}
	v := s.addServer(order{
		name: one.Name, flavor: s.flavors[0], image: images[0], networks: networks[:1],
		groups: []*group{s.defaultGroup(owner.id)},
	}, owner, owner.users[owner.Users[0].Name])
	if !s.plug(v) {
		return fmt.Errorf("cannot make the server %q: no address is free", one.Name)
	}
	s.finish(v)
	return nil
}

// CloudsYAML is a clouds.yaml by which a user reaches the cloud, by password; "" where
// there is no such project or user, or before Serve listens.
func (s *Server) CloudsYAML(projectName, userName string) string {
	url := s.URL()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[nameID("project", projectName)]
	if p == nil || p.users[userName] == nil || url == "" {
		return ""
	}
	return strings.Join([]string{
		"clouds:",
		"  " + p.Name + ":",
		"    auth:",
		"      auth_url: " + url,
		"      username: " + userName,
		"      password: " + p.users[userName].password,
		"      project_name: " + p.Name,
		"      user_domain_name: " + domainName,
		"      project_domain_name: " + domainName,
		"    region_name: " + region,
		"    identity_api_version: 3", "",
	}, "\n")
}

// nameID is the ID of a project or user, which lasts over a restart of the lab.
func nameID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "/" + name))
	return hex.EncodeToString(sum[:16])
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its contract
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// isUUID reports whether a text has the form of newUUID's.
func isUUID(text string) bool {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false
	}
	_, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	return err == nil
}

// newestFirst is a list, whose order is that of creation, turned round.
func newestFirst[T any](all []T) []T {
	turned := slices.Clone(all)
	slices.Reverse(turned)
	return turned
}

// page is the part of a list that begins after the element with a marker's ID, of at
// most limit elements; ok is false where there is no such element. more is the
// marker of the next page; "": the page is not full.
func page[T any](all []T, id func(T) string, marker string, limit int) (part []T, more string, ok bool) {
	if marker != "" {
		at := slices.IndexFunc(all, func(one T) bool { return id(one) == marker })
		if at < 0 {
			return nil, "", false
		}
		all = all[at+1:]
	}
	part = all[:min(limit, len(all))]
	if len(part) == limit && limit > 0 {
		more = id(part[limit-1])
	}
	return part, more, true
}

// within reports whether a project may have count of something; limit -1 is none.
func within(limit, count int) bool { return limit < 0 || count <= limit }
