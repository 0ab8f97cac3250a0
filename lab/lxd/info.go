package lxd

import (
	_ "embed"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

//go:embed extensions.txt
var extensions string

func (s *Server) getServer(*http.Request) (answer, error) {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "lab"
	}
	drivers, versions := s.drivers()
	server := api.Server{
		ServerPut: api.ServerPut{Config: map[string]any{}},
		ServerUntrusted: api.ServerUntrusted{
			APIExtensions: strings.Fields(extensions),
			APIStatus:     "stable",
			APIVersion:    "1.0",
			Auth:          "trusted",
			AuthMethods:   []string{"tls"},
		},
		Environment: api.ServerEnvironment{
			Addresses:       []string{},
			Architectures:   []string{architecture()},
			Driver:          drivers,
			DriverVersion:   versions,
			Firewall:        "nftables",
			Kernel:          "Linux",
			OSName:          "Debian GNU/Linux",
			OSVersion:       "12",
			Project:         "default",
			Server:          "lxd",
			ServerEventMode: "full-mesh",
			ServerName:      hostname,
			ServerPid:       os.Getpid(),
			ServerVersion:   "5.0.2",
			StorageSupportedDrivers: []api.ServerStorageDriverInfo{
				{Name: "btrfs", Version: "6.2"},
				{Name: "dir", Version: "1"},
			},
			KernelArchitecture: architecture(),
			KernelFeatures:     map[string]string{"idmapped_mounts": "true"},
			LXCFeatures:        map[string]string{"cgroup2": "true"},
		},
	}
	shown, err := without(server, "auth_user_name", "auth_user_method", "environment.instance_types", "environment.server_lts")
	return answer{metadata: shown, etag: server.Config}, err
}

func (s *Server) putServer(r *http.Request) (answer, error) {
	var put api.ServerPut
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	return empty, nil
}

// project is the only one.
func (s *Server) project() api.Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	project := api.Project{
		Name: "default", Description: "Default LXD project",
		Config: map[string]string{
			"features.images": "true", "features.networks": "true",
			"features.profiles": "true", "features.storage.volumes": "true",
		},
		UsedBy: []string{},
	}
	add := func(kind, name string) {
		project.UsedBy = append(project.UsedBy, "/1.0/"+kind+"/"+url.PathEscape(name))
	}
	for name := range s.instances {
		add("instances", name)
	}
	for name := range s.profiles {
		add("profiles", name)
	}
	for name := range s.images {
		add("images", name)
	}
	for name := range s.networks {
		add("networks", name)
	}
	for name := range s.acls {
		add("network-acls", name)
	}
	return project
}

func (s *Server) getProjects(r *http.Request) (answer, error) {
	all := map[string]api.Project{"default": s.project()}
	return list("/1.0/projects", all, recursion(r) == "1", func(p api.Project) any { return p }), nil
}

func (s *Server) getProject(r *http.Request) (answer, error) {
	if r.PathValue("name") != "default" {
		return answer{}, notFound("Project")
	}
	project := s.project()
	return answer{metadata: project, etag: project.Config}, nil
}
