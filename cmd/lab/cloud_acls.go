package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// aclInfo is one network ACL as "lab cloud acls" prints it.
type aclInfo struct {
	Name   string               `json:"name"`
	UsedBy []string             `json:"used_by"`
	Egress []api.NetworkACLRule `json:"egress"`
}

func cloudACLs(_ context.Context, t target, c lxdCloud, args []string) error {
	flags, format := labFlags(t.env, "cloud acls")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	acls, err := c.server.GetNetworkACLs()
	if err != nil {
		return fmt.Errorf("cannot list the network ACLs: %w", err)
	}
	infos := make([]aclInfo, 0, len(acls))
	for _, acl := range acls {
		infos = append(infos, aclInfo{acl.Name, acl.UsedBy, acl.Egress})
	}
	return print(t.env, *format, infos, "ACL\tACTION\tPROTOCOL\tPORTS\tDESTINATION", func(w io.Writer) {
		for _, acl := range infos {
			for _, rule := range acl.Egress {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", acl.Name, rule.Action, orAny(rule.Protocol), orAny(rule.DestinationPort), strings.ReplaceAll(rule.Destination, ",", ", "))
			}
		}
	})
}

func orAny(value string) string {
	if value == "" {
		return "any"
	}
	return value
}
