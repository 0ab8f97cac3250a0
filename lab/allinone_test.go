package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github-runner/lab/image"
)

func TestServersOfALab(t *testing.T) {
	for standIn, want := range map[string]string{
		"198.51.100.2": "198.18.0.0/22", "198.51.100.6": "198.18.4.0/22", "198.51.100.254": "198.18.252.0/22",
	} {
		n := &network{StandIn: netip.MustParseAddr(standIn)}
		if got := n.servers(); got.String() != want {
			t.Errorf("the servers that go with %s have %s, want %s", standIn, got, want)
		}
	}
}

func TestOpenStackOfUnknownGuests(t *testing.T) {
	if got := openStackObstacle("real", image.Builder{}); !strings.Contains(got, "choose fake or qemu") {
		t.Errorf("the obstacle is %q", got)
	}
}
