package lxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"
)

// What is on the machine that the emulation runs on, as the bridge of another lab's real
// LXD, is not on the emulated one.
func TestNetworksAreThoseOfTheEmulatedMachine(t *testing.T) {
	d := startDaemon(t)
	networks, err := d.client.GetNetworks()
	must(t, err)
	got := map[string]bool{}
	for _, network := range networks {
		got[network.Name] = network.Managed
	}
	if diff := cmp.Diff(map[string]bool{"lo": false, "eth0": false, "br-test": true}, got); diff != "" {
		t.Errorf("the networks, and whether LXD manages them (-want +got):\n%s", diff)
	}
	if err := d.client.CreateNetwork(api.NetworksPost{Name: "eth0", Type: "bridge"}); err == nil {
		t.Error("a bridge takes the name of the machine's interface")
	}
}
