package allinone

import (
	"context"
	"fmt"
	"path/filepath"
)

// The ports of the services.
const (
	identityPort  = 5000
	computePort   = 8774
	placementPort = 8778
	imagePort     = 9292
	networkPort   = 9696
)

// at is the URL of a service.
func (s *Stack) at(port int, path string) string {
	return fmt.Sprintf("http://%s:%d%s", s.Address, port, path)
}

// startIdentity starts Keystone, with the administrator and the catalog. Nova's
// services look into the catalog when they start.
func (s *Stack) startIdentity(ctx context.Context) error {
	url := s.at(identityPort, "/v3")
	if err := s.do(ctx, "schema", "env", "OS_BOOTSTRAP_PASSWORD="+s.password, "keystone-manage", "--config-file", s.path("keystone.conf"), "bootstrap",
		"--bootstrap-region-id", region, "--bootstrap-public-url", url, "--bootstrap-internal-url", url); err != nil {
		return err
	}
	if err := s.start(s.wsgi("keystone", identityPort, 2, "/usr/bin/keystone-wsgi-public", "OS_KEYSTONE_CONFIG_FILES="+s.path("keystone.conf"))); err != nil {
		return err
	}
	if err := s.await(ctx, "Keystone", answers(url)); err != nil {
		return err
	}
	return s.fillCatalog(ctx)
}

// startServices starts all others and waits until they answer.
func (s *Stack) startServices(ctx context.Context) error {
	if s.Guests == QEMU {
		if err := s.startLibvirt(ctx); err != nil {
			return err
		}
	}
	all := []daemon{
		s.wsgi("placement", placementPort, 1, "/usr/bin/placement-api", "OS_PLACEMENT_CONFIG_DIR="+s.path("")),
		{name: "neutron", argv: []string{"/usr/bin/neutron-server", "--config-file", s.path("neutron.conf")}},
		{name: "glance", argv: []string{"/usr/bin/glance-api", "--config-file", s.path("glance-api.conf")}},
	}
	for _, part := range []string{"conductor", "api", "scheduler", "compute"} {
		all = append(all, daemon{name: "nova-" + part, argv: []string{"/usr/bin/nova-" + part, "--config-file", s.path("nova.conf")}})
	}
	for _, d := range all {
		if err := s.start(d); err != nil {
			return err
		}
	}
	for name, port := range map[string]int{"Placement": placementPort, "Glance": imagePort, "Neutron": networkPort, "Nova": computePort} {
		if err := s.await(ctx, name, answers(s.at(port, "/"))); err != nil {
			return err
		}
	}
	return s.sql(ctx, agentRow)
}

// wsgi is a service that is an application of uWSGI's. A client that keeps its
// connections would meet closed ones without the header.
func (s *Stack) wsgi(name string, port, processes int, program string, env ...string) daemon {
	return daemon{name: name, env: env, argv: []string{
		"uwsgi", "--plugins", "python3", "--http-socket", fmt.Sprintf("%s:%d", s.Address, port), "--wsgi-file", program,
		"--master", "--processes", fmt.Sprint(processes), "--threads", "1", "--enable-threads", "--lazy-apps", "--need-app",
		"--die-on-term", "--disable-logging", "--buffer-size", "65535", "--listen", "100", "--add-header", "Connection: close",
	}}
}

// startLibvirt starts what Nova starts servers with.
func (s *Stack) startLibvirt(ctx context.Context) error {
	if err := s.start(daemon{name: "libvirt", argv: []string{"libvirtd"}}); err != nil {
		return err
	}
	return s.await(ctx, "libvirt", listens("unix", filepath.Join(runFolder, "libvirt", "libvirt-sock")))
}
