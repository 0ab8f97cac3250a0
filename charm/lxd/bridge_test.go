package lxd

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github-runner/charm/runner"
	"github-runner/lab/skip"
)

func TestWatchBridge(t *testing.T) {
	if os.Geteuid() != 0 {
		skip.Because(t, "making a network interface needs root")
	}
	owner := runner.Owner{ModelUUID: "watch-bridge", Unit: "tests/0"}
	name := Config{Owner: owner}.unitName()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := WatchBridge(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	next := func(wanted netip.Addr) {
		t.Helper()
		select {
		case got := <-changes:
			if got != wanted {
				t.Fatalf("the address is %v, wanted %v", got, wanted)
			}
		case <-time.After(time.Minute):
			t.Fatalf("nothing is said of %v", wanted)
		}
	}
	next(netip.Addr{})
	run("link", "add", name, "type", "bridge")
	t.Cleanup(func() { exec.Command("ip", "link", "delete", name).Run() })
	run("address", "add", "192.0.2.9/29", "dev", name)
	next(netip.MustParseAddr("192.0.2.9"))
	run("address", "delete", "192.0.2.9/29", "dev", name)
	next(netip.Addr{})
	run("address", "add", "192.0.2.17/29", "dev", name)
	next(netip.MustParseAddr("192.0.2.17"))
	run("link", "delete", name)
	next(netip.Addr{})
	cancel()
	if _, open := <-changes; open {
		t.Error("it goes on after its end")
	}
}
