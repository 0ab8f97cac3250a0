package openstack

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

func TestNetworks(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		for project, want := range map[string]string{"lab": "[lab ext]", "other": "[lab private ext]"} {
			all := c.clients(project)
			pages, err := networks.List(all.network, nil).AllPages(t.Context())
			must(t, err)
			found, err := networks.ExtractNetworks(pages)
			must(t, err)
			var names []string
			for _, n := range found {
				names = append(names, n.Name)
			}
			if got := fmt.Sprint(names); got != want {
				t.Errorf("%s sees %s, want %s", project, got, want)
			}
			n, err := networks.Get(t.Context(), all.network, found[0].ID).Extract()
			must(t, err)
			if s, err := subnets.Get(t.Context(), all.network, n.Subnets[0]).Extract(); err != nil || s.CIDR != "10.20.0.0/16" || s.GatewayIP != "10.20.0.1" {
				t.Errorf("the subnet is %+v, %v", s, err)
			}
			refused(t, networks.Get(t.Context(), all.network, "lab").Err, http.StatusNotFound,
				`{"NeutronError":{"detail":"","message":"Network lab could not be found.","type":"NetworkNotFound"}}`)
		}
	})
}

func (c *cloud) group(all clients, name string) *groups.SecGroup {
	c.t.Helper()
	g, err := groups.Create(c.t.Context(), all.network, groups.CreateOpts{Name: name, Description: "of a test"}).Extract()
	must(c.t, err)
	return g
}

func TestGroups(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all, ctx := c.clients("lab"), t.Context()
		g := c.group(all, "runners")
		if len(g.Rules) != 2 || g.Rules[0].Direction != "egress" || g.Name != "runners" {
			t.Errorf("a new group is %+v", g)
		}
		c.group(all, "runners") // a name may be used twice
		opts := c.runner(all, "runner-1")
		opts.SecurityGroups = []string{"runners"}
		refused(t, servers.Create(ctx, all.compute, opts, nil).Err, http.StatusConflict,
			"Multiple security_group matches found for name 'runners', use an ID to be more specific.")
		opts.SecurityGroups = []string{g.ID}
		v := c.create(all, opts)
		if v.SecurityGroups[0]["name"] != "runners" {
			t.Errorf("the server has the groups %v", v.SecurityGroups)
		}
		refused(t, groups.Delete(ctx, all.network, g.ID).ExtractErr(), http.StatusConflict,
			`{"NeutronError":{"detail":"","message":"Security Group `+g.ID+` in use.","type":"SecurityGroupInUse"}}`)
		must(t, servers.Delete(ctx, all.compute, v.ID).ExtractErr())
		time.Sleep(c.options.Timing.Delete) // of the bubble's fake clock
		synctest.Wait()
		must(t, groups.Delete(ctx, all.network, g.ID).ExtractErr())
		refused(t, groups.Delete(ctx, all.network, g.ID).ExtractErr(), http.StatusNotFound, "Security group "+g.ID+" does not exist")
		for i := range 8 { // one was left, and there is the default one
			c.group(all, fmt.Sprint("group-", i))
		}
		_, err := groups.Create(ctx, all.network, groups.CreateOpts{Name: "one too many"}).Extract()
		refused(t, err, http.StatusConflict, `{"NeutronError":{"detail":"","message":"Quota exceeded for resources: ['security_group'].","type":"OverQuota"}}`)
		_, err = groups.Create(ctx, all.network, groups.CreateOpts{Name: "default"}).Extract()
		refused(t, err, http.StatusConflict, "Default security group already exists.")
		var names []string
		for _, one := range c.securityGroups(all, groups.ListOpts{Limit: 3}) {
			names = append(names, one.Name)
		}
		if len(names) != 10 || names[0] != "default" {
			t.Errorf("the groups are %v", names)
		}
		if theirs := c.securityGroups(c.clients("other"), groups.ListOpts{}); len(theirs) != 1 {
			t.Errorf("the others see %v", theirs)
		}
		own := c.securityGroups(all, groups.ListOpts{Name: "default"})
		refused(t, groups.Delete(ctx, all.network, own[0].ID).ExtractErr(), http.StatusConflict, "Insufficient rights for removing default security group.")
	})
}

// securityGroups lists a project's security groups.
func (c *cloud) securityGroups(all clients, opts groups.ListOpts) []groups.SecGroup {
	c.t.Helper()
	pages, err := groups.List(all.network, opts).AllPages(c.t.Context())
	must(c.t, err)
	found, err := groups.ExtractGroups(pages)
	must(c.t, err)
	return found
}

func TestRules(t *testing.T) {
	ssh := rules.CreateOpts{
		Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP, PortRangeMin: 22, PortRangeMax: 22,
		RemoteIPPrefix: "192.0.2.7/24",
	}
	tests := map[string]struct {
		change func(o *rules.CreateOpts)
		status int
		want   string
	}{
		"twice":              {func(*rules.CreateOpts) {}, 409, "Security group rule already exists. Rule id is "},
		"the same network":   {func(o *rules.CreateOpts) { o.RemoteIPPrefix = "192.0.2.0/24" }, 409, "SecurityGroupRuleExists"},
		"another network":    {func(o *rules.CreateOpts) { o.RemoteIPPrefix = "198.51.100.0/24" }, 0, ""},
		"no such group":      {func(o *rules.CreateOpts) { o.SecGroupID = "none" }, 404, "Security group none does not exist"},
		"ports turned round": {func(o *rules.CreateOpts) { o.PortRangeMin = 23 }, 400, "port_range_min must be <= port_range_max"},
		"ports of nothing":   {func(o *rules.CreateOpts) { o.Protocol = "" }, 400, "Must also specify protocol if port range is given."},
		"odd protocol":       {func(o *rules.CreateOpts) { o.Protocol = "morse" }, 400, "Security group rule protocol morse not supported."},
		"odd direction":      {func(o *rules.CreateOpts) { o.Direction = "up" }, 400, "'up' is not in ['ingress', 'egress']"},
		"odd network":        {func(o *rules.CreateOpts) { o.RemoteIPPrefix = "192.0.2" }, 400, "'192.0.2' is not a valid IP subnet"},
		"other family":       {func(o *rules.CreateOpts) { o.RemoteIPPrefix = "2001:db8::/64" }, 400, "Conflicting value ethertype IPv4 for CIDR 2001:db8::/64"},
		"two remotes":        {func(o *rules.CreateOpts) { o.RemoteGroupID = o.SecGroupID }, 400, "may be provided"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all, ctx := c.clients("lab"), t.Context()
				opts := ssh
				opts.SecGroupID = c.group(all, "runners").ID
				first, err := rules.Create(ctx, all.network, opts).Extract()
				must(t, err)
				if first.RemoteIPPrefix != "192.0.2.0/24" || first.PortRangeMax != 22 {
					t.Errorf("the rule is %+v", first)
				}
				test.change(&opts)
				_, err = rules.Create(ctx, all.network, opts).Extract()
				if test.status == 0 {
					must(t, err)
				} else {
					refused(t, err, test.status, test.want)
				}
				must(t, rules.Delete(ctx, all.network, first.ID).ExtractErr())
				refused(t, rules.Delete(ctx, all.network, first.ID).ExtractErr(), http.StatusNotFound, "does not exist")
			})
		})
	}
}

func TestPortsAndFloatingAddresses(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all, ctx := c.clients("lab"), t.Context()
		v := c.create(all, c.runner(all, "runner-1"))
		pages, err := ports.List(all.network, ports.ListOpts{DeviceID: v.ID}).AllPages(ctx)
		must(t, err)
		found, err := ports.ExtractPorts(pages)
		must(t, err)
		if len(found) != 1 || found[0].DeviceOwner != "compute:nova" || len(found[0].SecurityGroups) != 1 {
			t.Fatalf("the server's ports are %+v", found)
		}
		external, err := networks.List(all.network, networks.ListOpts{Name: "ext"}).AllPages(ctx)
		must(t, err)
		ext, err := networks.ExtractNetworks(external)
		must(t, err)
		f, err := floatingips.Create(ctx, all.network, floatingips.CreateOpts{FloatingNetworkID: ext[0].ID, PortID: found[0].ID}).Extract()
		must(t, err)
		if f.FixedIP != found[0].FixedIPs[0].IPAddress || f.FloatingIP != "203.0.113.2" {
			t.Errorf("the floating address is %+v", f)
		}
		if shown := c.get(all, v.ID).Addresses["lab"].([]any); len(shown) != 2 {
			t.Errorf("the server shows %v", shown)
		}
		opts := c.runner(all, "runner-2")
		opts.Networks = []servers.Network{{UUID: ext[0].ID}}
		refused(t, servers.Create(ctx, all.compute, opts, nil).Err, http.StatusForbidden, "It is not allowed to create an interface on external network "+ext[0].ID)
		_, err = floatingips.Create(ctx, all.network, floatingips.CreateOpts{FloatingNetworkID: found[0].NetworkID}).Extract()
		refused(t, err, http.StatusBadRequest, "is not a valid external network")
		must(t, ports.Delete(ctx, all.network, found[0].ID).ExtractErr())
		if f, err = floatingips.Get(ctx, all.network, f.ID).Extract(); err != nil || f.PortID != "" {
			t.Errorf("without its port the floating address is %+v, %v", f, err)
		}
		must(t, floatingips.Delete(ctx, all.network, f.ID).ExtractErr())
		refused(t, floatingips.Delete(ctx, all.network, f.ID).ExtractErr(), http.StatusNotFound, "FloatingIPNotFound")
		refused(t, ports.Delete(ctx, all.network, found[0].ID).ExtractErr(), http.StatusNotFound, "PortNotFound")
	})
}

// A server for which its network has no address left ends as ERROR.
func TestAddressesRunOut(t *testing.T) {
	world := FirstWorld()
	world.Networks[0].CIDR = "10.20.0.0/29" // .1 is the gateway's, .2 and .3 are the neighbours'
	inCloud(t, Options{World: world}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		var got []string
		var last string
		for i := range 4 {
			v := c.create(all, c.runner(all, fmt.Sprint("runner-", i)))
			got, last = append(got, v.Status), v.ID
			if v.Status == "ERROR" && v.Fault.Message != "Build of instance "+v.ID+" aborted: Failed to allocate the network(s), not rescheduling." {
				t.Errorf("its fault is %q", v.Fault.Message)
			}
		}
		if fmt.Sprint(got) != "[ACTIVE ACTIVE ACTIVE ERROR]" {
			t.Errorf("the servers are %v", got)
		}
		found, err := c.list(all, servers.ListOpts{Name: "runner-0"})
		must(t, err)
		for _, id := range []string{last, found[0].ID} {
			must(t, servers.Delete(t.Context(), all.compute, id).ExtractErr())
		}
		time.Sleep(c.options.Timing.Delete) // of the bubble's fake clock
		synctest.Wait()
		if v := c.create(all, c.runner(all, "runner-9")); v.Status != "ACTIVE" {
			t.Errorf("with the address of another the server is %s", v.Status)
		}
	})
}
