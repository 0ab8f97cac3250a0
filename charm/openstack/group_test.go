package openstack

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"

	"github-runner/charm/runner"
	"github-runner/lab/openstack"
)

// allGroups are the project's.
func (u *unit) allGroups() []groups.SecGroup {
	u.yard.Helper()
	pages, err := groups.List(u.services().network, groups.ListOpts{}).AllPages(u.yard.Context())
	must(u.yard.T, err)
	all, err := groups.ExtractGroups(pages)
	must(u.yard.T, err)
	return all
}

func (u *unit) ourGroups() []groups.SecGroup {
	u.yard.Helper()
	all, err := u.groups(u.yard.Context(), u.services())
	must(u.yard.T, err)
	return all
}

// lets are the rules of the unit's only security group, in words.
func (u *unit) lets() []string {
	u.yard.Helper()
	all := u.ourGroups()
	if len(all) != 1 {
		u.yard.Fatalf("the security groups are %+v", all)
	}
	var words []string
	for _, one := range all[0].Rules {
		words = append(words, strings.Join(strings.Fields(strings.Join([]string{one.Direction, one.EtherType, one.Protocol, one.RemoteIPPrefix, one.RemoteGroupID}, " ")), " "))
	}
	slices.Sort(words)
	return words
}

func TestSecurityGroup(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine, func(c *Config) {
			c.ManagerAddresses = append(c.ManagerAddresses, netip.MustParsePrefix("2001:db8::7/64"), manager)
		})
		u.prepare(0)
		if left := u.ourGroups(); len(left) != 0 {
			t.Errorf("where no runner is wanted there are %+v", left)
		}
		u.prepare(1)
		wanted := []string{"egress IPv4", "egress IPv6", "ingress IPv4 tcp 10.20.0.1/32", "ingress IPv6 tcp 2001:db8::/64"}
		if diff := cmp.Diff(wanted, u.lets()); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
		u.calls.take()
		u.prepare(1)
		if n := u.calls.count("POST") + u.calls.count("DELETE"); n != 0 {
			t.Errorf("a second time changes %d things", n)
		}
	})
}

func TestSecurityGroupIsRepaired(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		u.prepare(1)
		before, in := u.ourGroups()[0], u.services()
		for _, one := range before.Rules {
			must(y.T, rules.Delete(ctx, in.network, one.ID).ExtractErr())
		}
		for _, odd := range []rules.CreateOpts{
			{Direction: rules.DirIngress, EtherType: rules.EtherType4},
			{Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: "tcp", PortRangeMin: 22, PortRangeMax: 80, RemoteIPPrefix: manager.String()},
			{Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: "tcp", PortRangeMin: 22, PortRangeMax: 22, RemoteGroupID: before.ID},
			{Direction: rules.DirEgress, EtherType: rules.EtherType4, RemoteIPPrefix: "0.0.0.0/0"},
		} {
			odd.SecGroupID = before.ID
			must(y.T, rules.Create(ctx, in.network, odd).Err)
		}
		u.prepare(0) // as well where no runner is wanted
		wanted := []string{"egress IPv4 0.0.0.0/0", "egress IPv6", "ingress IPv4 tcp 10.20.0.1/32"}
		if diff := cmp.Diff(wanted, u.lets()); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
		if after := u.ourGroups()[0]; after.ID != before.ID {
			t.Error("it is another group")
		}
	})
}

// After an answer that was lost there may be two of ours; one of the same name may be
// somebody else's.
func TestSecurityGroupsOfOneName(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		for _, description := range []string{"a firewall of ours", u.config.groupDescription(), u.config.groupDescription()} {
			must(y.T, groups.Create(ctx, u.services().network, groups.CreateOpts{Name: mine.Prefix(), Description: description}).Err)
		}
		name := u.create()
		if left := u.ourGroups(); len(left) != 1 {
			t.Errorf("there are %+v", left)
		}
		must(y.T, u.Delete(ctx, name))
		y.wait(y.timing.Delete)
		must(y.T, u.Destroy(ctx))
		left := u.allGroups()
		if len(left) != 2 || left[1].Description != "a firewall of ours" {
			t.Errorf("there are %+v", left)
		}
	})
}

func TestQuotaOfSecurityGroups(t *testing.T) {
	world := openstack.FirstWorld()
	world.Projects[0].Quota.SecurityGroups = 1
	inYard(t, openstack.Options{World: world}, func(y *yard) {
		u := y.unit(mine)
		_, err := u.Prepare(y.Context(), want(1))
		expect(t, err, runner.ErrQuota, "raise the OpenStack project's quota of security groups", "Quota exceeded for resources: ['security_group'].")
	})
	world = openstack.FirstWorld()
	world.Projects[0].Quota.SecurityGroupRules = 5
	inYard(t, openstack.Options{World: world}, func(y *yard) {
		u := y.unit(mine, func(c *Config) {
			c.ManagerAddresses = append(c.ManagerAddresses, netip.MustParsePrefix("192.0.2.0/24"))
		})
		_, err := u.Prepare(y.Context(), want(1))
		expect(t, err, runner.ErrQuota, "their rules")
	})
}

// A server that somebody put into our security group keeps its port, and with it the
// group.
func TestDestroyLeavesServersOfOthers(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		u.prepare(1)
		in := u.services()
		on, err := u.find(ctx, in)
		must(y.T, err)
		must(y.T, servers.Create(ctx, in.compute, servers.CreateOpts{
			Name: "database", FlavorRef: on.flavor, ImageRef: on.image, Networks: []servers.Network{{UUID: on.network}}, SecurityGroups: []string{u.ourGroups()[0].ID},
		}, nil).Err)
		y.built()
		expect(t, u.Destroy(ctx), runner.ErrBusy, "cannot remove the security group", "in use")
		if all, err := in.portsOf(ctx, ""); err != nil || len(all) != 2 {
			t.Errorf("there are the ports %+v, %v", all, err)
		}
	})
}
