package project

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
)

// What a project has goes, and what it cannot part with or only sees stays.
func TestEmpty(t *testing.T) {
	p := inProject(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := groups.Create(ctx, p.Network, groups.CreateOpts{Name: "doors"}).Extract(); err != nil {
		t.Fatal(err)
	}
	deleted, err := p.Empty(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(deleted, func(name string) bool { return strings.HasPrefix(name, "doors ") }) {
		t.Errorf("deleted %q", deleted)
	}
	left, err := p.Names(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"servers", "ports", "floating IPs", "keypairs"} {
		if len(left[kind]) > 0 {
			t.Errorf("the %s %q are left", kind, left[kind])
		}
	}
	if len(left["security groups"]) != 1 || len(left["images"]) == 0 {
		t.Errorf("there are left: %v", left)
	}
}
