package fakeguests

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/cloudinit"
	door "github-runner/charm/guest"
	"github-runner/charm/secret"
)

// A unit reads what a runner leaves at the address that Nova shows of its server.
func TestGuestIsReadAtItsAddress(t *testing.T) {
	keys, err := door.LoadKeys(filepath.Join(t.TempDir(), "guest-secret"))
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := keys.HostKey("runner-1")
	if err != nil {
		t.Fatal(err)
	}
	h, n, _ := newHost(t, cloudinit.Machine{Name: "runner-1", JIT: secret.New("blob"), SSH: &cloudinit.SSH{
		AuthorizedKey: keys.AuthorizedKey(), HostKey: private, HostPublicKey: public,
	}})
	var at string
	h.options.ListenSSH = func(guest netip.Addr) (net.Listener, error) {
		if at == "" {
			at = "taken"
			return nil, errors.New("another guest has the address")
		}
		listener, err := net.Listen("tcp", netip.AddrPortFrom(guest, 0).String())
		if err == nil {
			at = listener.Addr().String()
		}
		return listener, err
	}
	look(t, h)
	look(t, h)
	there, err := h.inside("runner-1")
	if err != nil {
		t.Fatal(err)
	}
	there.Leave(cloudinit.PreJobMetricsFile, "metrics")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unit := door.Door{Keys: keys, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}
	path := cloudinit.ExchangeDir + "/" + cloudinit.PreJobMetricsFile
	got, err := unit.Read(ctx, "runner-1", netip.MustParseAddr("127.0.0.1"), []door.File{{Path: path, Max: 100}})
	if err != nil || string(got[path]) != "metrics" {
		t.Errorf("it reads %q, %v", got, err)
	}

	n.set("SHUTOFF")
	look(t, h)
	if got, err := unit.Read(ctx, "runner-1", netip.MustParseAddr("127.0.0.1"), []door.File{{Path: path, Max: 100}}); err == nil {
		t.Errorf("of a server that is off it reads %q", got)
	}
}

func TestServersWithoutAddress(t *testing.T) {
	for _, odd := range []any{nil, 7, map[string]any{"lab": []any{map[string]any{"addr": "nowhere"}, "odd"}, "other": 7}} {
		shown := servers.Server{}
		shown.Addresses, _ = odd.(map[string]any)
		if found := addressesOf(shown); len(found) > 0 {
			t.Errorf("%v: found %v", odd, found)
		}
	}
}
