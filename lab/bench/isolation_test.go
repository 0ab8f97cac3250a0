package bench

import (
	"net/netip"
	"testing"
)

func TestOpenNetworkTakesNothingThatIsTaken(t *testing.T) {
	gateway := netip.MustParsePrefix("10.71.20.1/22")
	for _, test := range []struct{ taken, want string }{
		{"10.71.20.1/22", "10.71.24.1/22"},
		{"10.71.26.7/24", "10.71.28.1/22"},
		{"10.71.24.0/21", "10.71.32.1/22"},
	} {
		if got := subnetBeside(gateway, []netip.Prefix{gateway, netip.MustParsePrefix(test.taken)}); got.String() != test.want {
			t.Errorf("beside %s with %s taken there is %s, want %s", gateway, test.taken, got, test.want)
		}
	}
}
