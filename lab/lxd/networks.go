package lxd

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// showNetwork is a network as the API shows it; s.mu is held.
func (s *Server) showNetwork(n *api.Network) api.Network {
	shown := *n
	shown.UsedBy = s.users(func(all devices) bool {
		for _, device := range all {
			if device["type"] == "nic" && (device["network"] == n.Name || device["parent"] == n.Name) {
				return true
			}
		}
		return false
	})
	return shown
}

// hostNetworks are the emulated machine's own interfaces: LXD lists them as unmanaged.
// Those of the machine that it runs on are not its: real LXDs of other labs have bridges
// there, which come and go.
func hostNetworks() map[string]api.Network {
	return map[string]api.Network{
		"lo":   {Name: "lo", Type: "loopback", Config: map[string]string{}},
		"eth0": {Name: "eth0", Type: "physical", Config: map[string]string{}},
	}
}

func (s *Server) getNetworks(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := hostNetworks()
	for name, n := range s.networks {
		all[name] = *n
	}
	return list("/1.0/networks", all, recursion(r) == "1", func(n api.Network) any {
		if !n.Managed {
			return n
		}
		return s.showNetwork(&n)
	}), nil
}

func (s *Server) getNetwork(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[r.PathValue("name")]
	if n == nil {
		if host, ok := hostNetworks()[r.PathValue("name")]; ok {
			return answer{metadata: host}, nil
		}
		return answer{}, notFound("Network")
	}
	return answer{metadata: s.showNetwork(n), etag: networkETag(n)}, nil
}

func networkETag(n *api.Network) any {
	return []any{n.Name, n.Managed, n.Type, n.Description, n.Config}
}

func (s *Server) postNetworks(r *http.Request) (answer, error) {
	var post api.NetworksPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkNewNetwork(post); err != nil {
		return answer{}, err
	}
	config := maps.Clone(post.Config)
	if config == nil {
		config = make(map[string]string)
	}
	if err := s.fillAddresses(config); err != nil {
		return answer{}, err
	}
	n := &api.Network{
		Name: post.Name, Type: "bridge", Managed: true, Status: "Created",
		Config: config, Description: post.Description, Locations: []string{"none"},
	}
	s.networks[n.Name] = n
	s.keep(storedNetworks, n.Name, n)
	s.events.lifecycle("network-created", "networks/"+n.Name, nil, true)
	return answer{location: "/1.0/networks/" + n.Name}, nil
}

func (s *Server) checkNewNetwork(post api.NetworksPost) error {
	switch {
	case post.Name == "":
		return refuse(http.StatusBadRequest, "No name provided")
	case len(post.Name) > 15:
		return refuse(http.StatusBadRequest, "Network interface is too long (maximum 15 characters)")
	case s.networks[post.Name] != nil:
		return refuse(http.StatusBadRequest, "The network already exists")
	case post.Type != "" && post.Type != "bridge":
		return refuse(http.StatusNotImplemented, "the emulated LXD has bridges only")
	}
	if err := isInterfaceName(post.Name); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if err := s.checkNetworkConfig(post.Name, post.Config); err != nil {
		return err
	}
	if _, there := hostNetworks()[post.Name]; there {
		return says("Network interface %q already exists", post.Name)
	}
	for _, other := range s.networks {
		address := post.Config["ipv4.address"]
		if prefix, err := netip.ParsePrefix(address); err == nil && sameAddress(prefix, other.Config["ipv4.address"]) {
			return says("The DNS and DHCP service exited prematurely: Process exited with non-zero value 2 (\"dnsmasq: failed to create listening socket for %s: Address already in use\")", prefix.Addr())
		}
	}
	return nil
}

func sameAddress(prefix netip.Prefix, other string) bool {
	p, err := netip.ParsePrefix(other)
	return err == nil && p.Addr() == prefix.Addr()
}

// checkNetworkConfig checks options and the ACLs that they name; s.mu is held.
func (s *Server) checkNetworkConfig(name string, config map[string]string) error {
	if err := checkBridge(name, config); err != nil {
		return err
	}
	for _, acl := range aclsOf(config) {
		if s.acls[acl] == nil {
			return says("Network ACL %q does not exist", acl)
		}
	}
	return nil
}

func aclsOf(config map[string]string) []string {
	return strings.FieldsFunc(config["security.acls"], func(r rune) bool { return r == ',' || r == ' ' })
}

// fillAddresses finds the subnets that were left to LXD.
func (s *Server) fillAddresses(config map[string]string) error {
	if address := config["ipv4.address"]; address == "" || address == "auto" {
		subnet, ok := s.freeSubnet()
		if !ok {
			return says("Failed generating auto config: Failed to automatically find an unused IPv4 subnet, manual configuration required")
		}
		config["ipv4.address"] = subnet
		if config["ipv4.nat"] == "" {
			config["ipv4.nat"] = "true"
		}
	}
	if address := config["ipv6.address"]; address == "" || address == "auto" {
		config["ipv6.address"] = "none"
	}
	return nil
}

func (s *Server) freeSubnet() (string, bool) {
	if s.faults.Take(NoSubnet, "") != nil {
		return "", false
	}
	for third := range 256 {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 187, byte(third), 1}), 24)
		used := slices.ContainsFunc(slices.Collect(maps.Values(s.networks)), func(n *api.Network) bool {
			p, err := netip.ParsePrefix(n.Config["ipv4.address"])
			return err == nil && p.Overlaps(candidate)
		})
		if !used {
			return candidate.String(), true
		}
	}
	return "", false
}

func (s *Server) putNetwork(r *http.Request) (answer, error) {
	return s.changeNetwork(r, false)
}

func (s *Server) patchNetwork(r *http.Request) (answer, error) {
	return s.changeNetwork(r, true)
}

func (s *Server) changeNetwork(r *http.Request, patch bool) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[r.PathValue("name")]
	if n == nil {
		return answer{}, refuse(http.StatusNotFound, "Failed loading network: Network not found")
	}
	if err := checkETag(r, networkETag(n)); err != nil {
		return answer{}, err
	}
	var put api.NetworkPut
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	if patch {
		put.Config = merge(n.Config, put.Config)
	}
	if put.Config == nil {
		put.Config = make(map[string]string)
	}
	if err := checkBridge(n.Name, put.Config); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "%v", err)
	}
	if err := s.checkNetworkConfig(n.Name, put.Config); err != nil {
		return answer{}, err
	}
	n.Config, n.Description = put.Config, put.Description
	s.keep(storedNetworks, n.Name, n)
	s.events.lifecycle("network-updated", "networks/"+n.Name, nil, true)
	return empty, nil
}

// merge is base with the changes of a PATCH: an empty value removes a key.
func merge(base, changes map[string]string) map[string]string {
	merged := maps.Clone(base)
	if merged == nil {
		merged = make(map[string]string)
	}
	for key, value := range changes {
		if value == "" {
			delete(merged, key)
			continue
		}
		merged[key] = value
	}
	return merged
}

func (s *Server) deleteNetwork(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[r.PathValue("name")]
	if n == nil {
		return answer{}, refuse(http.StatusNotFound, "Failed loading network: Network not found")
	}
	if len(s.showNetwork(n).UsedBy) > 0 {
		return answer{}, refuse(http.StatusBadRequest, "The network is currently in use")
	}
	delete(s.networks, n.Name)
	s.forget(storedNetworks, n.Name)
	s.events.lifecycle("network-deleted", "networks/"+n.Name, nil, true)
	return empty, nil
}

func (s *Server) getNetworkState(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[r.PathValue("name")]
	if n == nil {
		return answer{}, notFound("Network")
	}
	state := api.NetworkState{Addresses: []api.NetworkStateAddress{}, Mtu: 1500, State: "up", Type: "broadcast"}
	if prefix, err := netip.ParsePrefix(n.Config["ipv4.address"]); err == nil {
		state.Addresses = append(state.Addresses, api.NetworkStateAddress{
			Family: "inet", Address: prefix.Addr().String(), Netmask: fmt.Sprint(prefix.Bits()), Scope: "global",
		})
	}
	return answer{metadata: state}, nil
}

func (s *Server) getNetworkLeases(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.networks[r.PathValue("name")]
	if n == nil {
		return answer{}, notFound("Network")
	}
	leases := []api.NetworkLease{}
	if prefix, err := netip.ParsePrefix(n.Config["ipv4.address"]); err == nil {
		leases = append(leases, api.NetworkLease{Hostname: n.Name + ".gw", Address: prefix.Addr().String(), Type: "gateway"})
	}
	return answer{metadata: leases}, nil
}
