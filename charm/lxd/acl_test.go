package lxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
)

// Whoever reads the log must be able to tell an address that came from a rule that
// somebody wrote.
func TestRewriting(t *testing.T) {
	reject := func(destinations string) api.NetworkACLRule {
		return api.NetworkACLRule{Action: "reject", State: "enabled", Destination: destinations}
	}
	ours := []api.NetworkACLRule{reject("10.0.0.1/32,10.0.0.2/32"), reject("::/0")}
	tampered := reject("10.0.0.1/32,10.0.0.2/32")
	tampered.State = "disabled"
	proxy := reject("10.0.0.9/32")
	proxy.Protocol, proxy.DestinationPort = "tcp", "1-3127,3129-65535"
	for name, test := range map[string]struct {
		egress, ingress, wanted []api.NetworkACLRule
		want                    string
	}{
		"address came": {
			egress: []api.NetworkACLRule{reject("10.0.0.1/32"), reject("::/0")}, wanted: ours,
			want: "adding 10.0.0.2/32",
		},
		"address went": {
			egress: ours, wanted: []api.NetworkACLRule{reject("10.0.0.2/32"), reject("::/0")},
			want: "removing 10.0.0.1/32",
		},
		"emptied": {wanted: ours, want: "adding 10.0.0.1/32, 10.0.0.2/32, ::/0"},
		"opened": {
			egress: append([]api.NetworkACLRule{{Action: "allow", State: "enabled"}}, ours...), wanted: ours,
			want: "removing allow everywhere",
		},
		"disabled": {
			egress: []api.NetworkACLRule{tampered, reject("::/0")}, wanted: ours,
			want: "adding 10.0.0.1/32, 10.0.0.2/32, removing 10.0.0.1/32 disabled, 10.0.0.2/32 disabled",
		},
		"ingress": {
			egress: ours, ingress: []api.NetworkACLRule{{Action: "allow", State: "enabled", Source: "10.9.0.0/16"}}, wanted: ours,
			want: "removing ingress allow everywhere from 10.9.0.0/16",
		},
		"proxy": {
			egress: ours, wanted: append([]api.NetworkACLRule{proxy}, ours...),
			want: "adding 10.0.0.9/32 tcp port 1-3127,3129-65535",
		},
		"many": {
			egress: []api.NetworkACLRule{reject("::/0")}, wanted: []api.NetworkACLRule{reject("1.0.0.1/32,1.0.0.2/32,1.0.0.3/32,1.0.0.4/32,1.0.0.5/32,1.0.0.6/32,1.0.0.7/32"), reject("::/0")},
			want: "adding 1.0.0.1/32, 1.0.0.2/32, 1.0.0.3/32, 1.0.0.4/32, 1.0.0.5/32 and 2 more",
		},
		"order": {
			egress: []api.NetworkACLRule{ours[1], ours[0]}, wanted: ours,
			want: "writing the same rules in their order",
		},
	} {
		t.Run(name, func(t *testing.T) {
			current := api.NetworkACL{Egress: test.egress, Ingress: test.ingress}
			if got := rewriting(current, test.wanted); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
