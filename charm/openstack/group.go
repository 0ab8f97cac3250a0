package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"

	"github-runner/charm/runner"
)

// portSSH is the one port of a runner that can be reached.
const portSSH = 22

// groupName is what the unit's security group is called.
func (c Config) groupName() string {
	return c.Owner.Prefix()
}

// groupDescription says whose a security group is: Neutron takes several of one
// name, and two models may use one project.
func (c Config) groupDescription() string {
	return fmt.Sprintf("GitHub runners of the unit %s in the Juju model %s", c.Owner.Unit, c.Owner.ModelUUID)
}

// groups are the unit's security groups, the oldest first: after a lost answer
// there may be more than one.
func (c *Cloud) groups(ctx context.Context, in services) ([]groups.SecGroup, error) {
	pages, err := groups.List(in.network, groups.ListOpts{Name: c.config.groupName()}).AllPages(ctx)
	if err != nil {
		return nil, cannot(err, "list the security groups of OpenStack")
	}
	all, err := groups.ExtractGroups(pages)
	if err != nil {
		return nil, cannot(err, "read the security groups of OpenStack")
	}
	ours := slices.DeleteFunc(all, func(one groups.SecGroup) bool {
		return one.Name != c.config.groupName() || one.Description != c.config.groupDescription()
	})
	slices.SortFunc(ours, func(a, b groups.SecGroup) int {
		if before := a.CreatedAt.Compare(b.CreatedAt); before != 0 {
			return before
		}
		return strings.Compare(a.ID, b.ID)
	})
	return ours, nil
}

// ensureGroup keeps up the unit's security group and returns its ID; "" where there
// is none and none is to be made.
func (c *Cloud) ensureGroup(ctx context.Context, in services, create bool) (string, error) {
	ours, err := c.groups(ctx, in)
	if err != nil {
		return "", err
	}
	if len(ours) == 0 && !create {
		return "", nil
	}
	if len(ours) == 0 {
		made, err := groups.Create(ctx, in.network, groups.CreateOpts{Name: c.config.groupName(), Description: c.config.groupDescription()}).Extract()
		if err != nil {
			return "", groupTrouble(cannot(err, "make the security group %s", c.config.groupName()))
		}
		ours = []groups.SecGroup{*made}
	}
	for _, extra := range ours[1:] {
		// One that is in use is tried again at the next time.
		if err := c.deleteGroup(ctx, in, extra.ID); err != nil && !errors.Is(err, runner.ErrBusy) {
			return "", err
		}
	}
	return ours[0].ID, c.repairGroup(ctx, in, ours[0])
}

// groupTrouble tells a person of the quota that is used up first: by default a
// project may have 10 security groups.
func groupTrouble(err error) error {
	if !errors.Is(err, runner.ErrQuota) {
		return err
	}
	return runner.Trouble{Advice: "raise the OpenStack project's quota of security groups and their rules, or remove some: each unit needs one group", Err: err}
}

// repairGroup makes the rules of a security group what they should be.
func (c *Cloud) repairGroup(ctx context.Context, in services, group groups.SecGroup) error {
	missing := c.rules()
	for _, there := range group.Rules {
		at := slices.Index(missing, ruleOf(there))
		if at >= 0 {
			missing = slices.Delete(missing, at, at+1)
			continue
		}
		if err := ignoreMissing(rules.Delete(ctx, in.network, there.ID).ExtractErr()); err != nil {
			return cannot(err, "remove a rule from the security group %s", group.Name)
		}
	}
	for _, one := range missing {
		err := rules.Create(ctx, in.network, one.options(group.ID)).Err
		if err != nil && !isThere(err) {
			return groupTrouble(cannot(err, "add a rule to the security group %s", group.Name))
		}
	}
	return nil
}

// isThere reports whether Neutron refused a rule because it has it.
func isThere(err error) bool {
	answer, _ := answered(err)
	return answer.Actual == http.StatusConflict && strings.Contains(string(answer.Body), "SecurityGroupRuleExists")
}

// rule is what a security group lets through.
type rule struct {
	direction rules.RuleDirection
	family    rules.RuleEtherType
	protocol  string
	port      int
	// remote is the other side; "": anybody.
	remote string
}

// rules are those that the unit's security group should have: runners reach
// everything, and nobody but the unit reaches them.
func (c *Cloud) rules() []rule {
	all := []rule{
		{direction: rules.DirEgress, family: rules.EtherType4},
		{direction: rules.DirEgress, family: rules.EtherType6},
	}
	for _, from := range c.config.ManagerAddresses {
		one := rule{direction: rules.DirIngress, family: rules.EtherType4, protocol: "tcp", port: portSSH, remote: from.Masked().String()}
		if from.Addr().Is6() {
			one.family = rules.EtherType6
		}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// ruleOf is a rule as Neutron shows it, in the form of ours. One that lets other
// ports through is none of ours.
func ruleOf(there rules.SecGroupRule) rule {
	one := rule{
		direction: rules.RuleDirection(there.Direction),
		family:    rules.RuleEtherType(there.EtherType),
		protocol:  there.Protocol,
		port:      there.PortRangeMin,
		remote:    there.RemoteIPPrefix,
	}
	if there.PortRangeMin != there.PortRangeMax || there.RemoteGroupID != "" || there.RemoteAddressGroupID != "" {
		one.port = -1
	}
	if prefix, err := netip.ParsePrefix(one.remote); err == nil {
		one.remote = prefix.Masked().String()
		if prefix.Bits() == 0 {
			one.remote = ""
		}
	}
	return one
}

func (r rule) options(group string) rules.CreateOpts {
	return rules.CreateOpts{
		Direction: r.direction, EtherType: r.family, SecGroupID: group, Protocol: rules.RuleProtocol(r.protocol),
		PortRangeMin: r.port, PortRangeMax: r.port, RemoteIPPrefix: r.remote,
	}
}

// deleteGroup removes a security group; ErrBusy while a port has it.
func (c *Cloud) deleteGroup(ctx context.Context, in services, id string) error {
	err := ignoreMissing(groups.Delete(ctx, in.network, id).ExtractErr())
	if statusOf(err) == http.StatusConflict {
		return fmt.Errorf("cannot remove the security group %s: %w: %w", c.config.groupName(), runner.ErrBusy, classify(err))
	}
	return cannot(err, "remove the security group %s", c.config.groupName())
}
