package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
)

// groupInfo is one security group as "lab cloud groups" prints it.
type groupInfo struct {
	Name  string               `json:"name"`
	ID    string               `json:"id"`
	Rules []rules.SecGroupRule `json:"rules"`
}

func cloudGroups(ctx context.Context, t target, on openstackCloud, args []string) error {
	flags, format := labFlags(t.env, "cloud groups")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	p, err := on.open()
	if err != nil {
		return err
	}
	all, err := p.Groups(ctx)
	if err != nil {
		return err
	}
	infos := make([]groupInfo, 0, len(all))
	for _, group := range all {
		infos = append(infos, groupInfo{group.Name, group.ID, group.Rules})
	}
	return print(t.env, *format, infos, "GROUP\tDIRECTION\tFAMILY\tPROTOCOL\tPORTS\tREMOTE", func(w io.Writer) {
		for _, group := range infos {
			for _, rule := range group.Rules {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", group.Name, rule.Direction, rule.EtherType, orAny(rule.Protocol), ports(rule), orAny(rule.RemoteIPPrefix))
			}
		}
	})
}

// ports are those that a rule is for.
func ports(rule rules.SecGroupRule) string {
	switch {
	case rule.PortRangeMax == 0:
		return orAny("")
	case rule.PortRangeMin == rule.PortRangeMax:
		return fmt.Sprint(rule.PortRangeMin)
	}
	return fmt.Sprintf("%d-%d", rule.PortRangeMin, rule.PortRangeMax)
}

// cloudEditGroup opens security groups to everybody.
func cloudEditGroup(ctx context.Context, t target, on openstackCloud, args []string) error {
	if len(args) > 1 {
		return usagef("it is: lab cloud edit-group [NAME]")
	}
	p, err := on.open()
	if err != nil {
		return err
	}
	opened, err := p.OpenGroups(ctx, strings.Join(args, ""))
	for _, name := range opened {
		fmt.Fprintln(t.env.Stdout, "opened", name)
	}
	return err
}
