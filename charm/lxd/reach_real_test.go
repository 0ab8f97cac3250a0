package lxd

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// openAnyway are the probes that get through the isolation, beside what
// configurations open.
var openAnyway = []string{"dns", "web", "behind-another-bridge"}

// TestRealReach tries everything from inside real runners, first without any
// isolation, which shows that each probe can succeed, and then after Prepare has
// repaired it.
func TestRealReach(t *testing.T) {
	cloud := realCloud(t, func(c *Config) {
		c.Denylist = prefixes("203.0.113.0/24")
		c.DebugHosts = []cloudinit.DebugHost{{Host: debugHost, Port: debugPort}, {Host: yardAddress, Port: otherPort}, {Host: metadata, Port: otherPort}}
	})
	other := realCloud(t, func(c *Config) { c.Owner.Unit, c.Denylist = "tests/1", prefixes(behindYard+"/32") })
	web := newWebServer(t)
	// They come online behind the isolation: DHCP and DNS pass it.
	name, neighbour, stranger := born(t, cloud, web), born(t, cloud, web), born(t, other, web)
	bridge, otherBridge := cloud.config.unitName(), other.config.unitName()
	y := newYard(t, webSpace, bridge, otherBridge)
	y.listen(t, neighbour)
	y.listen(t, stranger)
	gateway := gatewayOf(t, cloud)

	giveIPv6 := func() {
		t.Helper()
		if err := exec.Command("sysctl", "-qw", "net.ipv6.conf."+bridge+".disable_ipv6=0").Run(); err != nil {
			t.Fatal(err)
		}
		ip(t, "address", "replace", bridgeIPv6+"/64", "dev", bridge, "nodad")
		ip(t, "address", "replace", bridgeLink+"/64", "dev", bridge, "nodad")
		y.run(t, name, "ip address replace fd00:77::2/64 dev eth0 nodad; ip address replace fe80::2/64 dev eth0 nodad; ip route replace fd00:78::/64 via "+bridgeIPv6)
	}
	lateComer := func(action string) {
		t.Helper()
		ip(t, "address", action, lateAddress+"/24", "dev", yardLink)
	}
	prepare := func(cloud *Cloud) {
		t.Helper()
		if _, err := cloud.Prepare(t.Context(), web.want()); err != nil {
			t.Fatal(err)
		}
	}
	lift(t, cloud)
	lift(t, other)
	giveIPv6()
	lateComer("add")
	all := y.probes(t, cloud, neighbour, stranger)
	if diff := cmp.Diff(names(all), y.reached(t, name, all)); diff != "" {
		t.Fatalf("without isolation, not everything can be reached: %s", diff)
	}
	if !y.reachedThroughMachine(t, gateway, name, neighbour) {
		t.Fatal("without isolation, a neighbour can't be reached through the machine")
	}

	lateComer("delete")
	prepare(cloud)
	prepare(other)
	lateComer("add")
	giveIPv6()
	all = y.probes(t, cloud, neighbour, stranger)
	if diff := cmp.Diff(append(slices.Clone(openAnyway), "debug-host"), y.reached(t, name, all)); diff != "" {
		t.Errorf("with isolation: %s", diff)
	}
	if y.reachedThroughMachine(t, gateway, name, neighbour) {
		t.Error("a runner reaches a neighbour through the machine")
	}

	t.Run("each unit has its own denylist", func(t *testing.T) {
		lists := []probe{{"denied", "tcp", deniedHost, otherPort, 0}, {"behind-another-bridge", "tcp", behindYard, otherPort, 0}}
		for from, wanted := range map[string][]string{name: {"behind-another-bridge"}, stranger: {"denied"}} {
			if diff := cmp.Diff(wanted, y.reached(t, from, lists)); diff != "" {
				t.Errorf("from %s: %s", from, diff)
			}
		}
	})

	t.Run("while LXD writes the network anew", func(t *testing.T) {
		server, cancel, err := cloud.connect(t.Context(), createDeadline)
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		written := make(chan error, 1)
		go func() {
			change := api.NetworkPut{Config: merged(cloud.networkConfig(), map[string]string{"ipv4.address": gateway.String(), "dns.domain": "other"})}
			written <- server.change(http.MethodPut, apiPath("networks", bridge), change, "")
		}()
		denied := slices.Repeat([]probe{{Name: "denied", Network: "tcp", Address: deniedHost, Port: otherPort, Timeout: 0.05}}, 20)
		for done := false; !done; {
			select {
			case err := <-written:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
			if got := y.reached(t, name, denied); len(got) > 0 {
				t.Fatal("a denied network can be reached")
			}
		}
	})

	t.Run("the policy port", func(t *testing.T) {
		ports := []probe{{"policy", "tcp", gateway.Addr().String(), y.port, 0}, {"another", "tcp", gateway.Addr().String(), publishedPort, 0}, {"elsewhere", "tcp", yardAddress, y.port, 0}, {"by-udp", "udp", gateway.Addr().String(), y.port, 0}}
		for _, port := range []int{y.port, 0} {
			changed := reconfigured(t, cloud, func(c *Config) { c.Policy = policyOn(uint16(port)) })
			prepare(changed)
			got := y.reached(t, name, ports)
			if wanted := map[bool]string{true: "policy", false: ""}[port != 0]; strings.Join(got, " ") != wanted {
				t.Errorf("with the policy port %d, %q are open", port, got)
			}
		}
	})

	t.Run("another denylist", func(t *testing.T) {
		prepare(reconfigured(t, cloud, func(c *Config) { c.Denylist = prefixes(behindYard + "/31") }))
		got := y.reached(t, name, all)
		if slices.Contains(got, "behind-another-bridge") || !slices.Contains(got, "denied") || !slices.Contains(got, "web") {
			t.Errorf("it is not in force: %q", got)
		}
		if found := find(t, cloud, name); found.Status != runner.StatusRunning {
			t.Errorf("the runner is %s", found.Status)
		}
	})

	t.Run("a connection that was open before", func(t *testing.T) {
		for _, denied := range []bool{false, true} {
			cmd := y.inside(t.Context(), name, "python3", "-c", patient, webAddress)
			in, inErr := cmd.StdinPipe()
			out, outErr := cmd.StdoutPipe()
			if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, len("open\n"))); err != nil {
				t.Fatal(err)
			}
			if denied {
				prepare(reconfigured(t, cloud, func(c *Config) { c.Denylist = prefixes(webAddress + "/32") }))
			}
			io.WriteString(in, "\n")
			answer, _ := io.ReadAll(out)
			cmd.Wait()
			if used := strings.Contains(string(answer), "used"); used == denied {
				t.Errorf("denied: %v, used: %v", denied, used)
			}
		}
	})

	t.Run("nothing stays", func(t *testing.T) {
		for _, gone := range []string{name, neighbour} {
			if err := cloud.Delete(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := cloud.Destroy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		tables, err := exec.Command("nft", "list", "tables").Output()
		if err != nil || strings.Contains(string(tables), bridge) || !strings.Contains(string(tables), otherBridge) {
			t.Errorf("tables of nftables: %s, %v", tables, err)
		}
	})
}

// reachedThroughMachine tries a way around port isolation: whoever has root in two
// runners can have both send their packets to the machine, which forwards them.
func (y *yard) reachedThroughMachine(t *testing.T, gateway netip.Prefix, from, to string) bool {
	t.Helper()
	there, back := y.addressOf(t, to), y.addressOf(t, from)
	via := "/32 via " + gateway.Addr().String()
	y.run(t, from, "ip route add "+there+via)
	y.run(t, to, "ip route add "+back+via)
	got := y.reached(t, from, []probe{{"neighbour", "tcp", there, otherPort, 0}})
	y.run(t, from, "ip route delete "+there+via)
	y.run(t, to, "ip route delete "+back+via)
	return len(got) == 1
}

func names(probes []probe) []string {
	var result []string
	for _, p := range probes {
		result = append(result, p.Name)
	}
	return result
}

// probes are all kinds of things that a runner might try.
func (y *yard) probes(t *testing.T, cloud *Cloud, neighbour, stranger string) []probe {
	gateway := gatewayOf(t, cloud)
	result := []probe{
		{"dns", "dns", gateway.Addr().String(), 53, 0},
		{"web", "tcp", webAddress, otherPort, 0},
		{"behind-another-bridge", "tcp", behindYard, otherPort, 0},
		{"denied", "tcp", deniedHost, otherPort, 0},
		{"debug-host", "tcp", debugHost, debugPort, 0},
		{"debug-host-other-port", "tcp", debugHost, otherPort, 0},
		{"metadata", "tcp", metadata, otherPort, 0},
		{"neighbour", "tcp", y.addressOf(t, neighbour), otherPort, 0},
		{"other-unit", "tcp", y.addressOf(t, stranger), otherPort, 0},
		{"published-port", "tcp", yardAddress, publishedPort, 0},
		{"resolver-of-another-bridge", "tcp", yardAddress, 53, 0},
		{"resolver-of-another-bridge-udp", "udp", yardAddress, 53, 0},
		{"broadcast", "udp", "255.255.255.255", y.port, 0},
		{"broadcast-of-the-bridge", "udp", broadcast(gateway), y.port, 0},
		{"ipv6-of-the-bridge", "tcp", bridgeIPv6, y.port, 0},
		{"ipv6-link-local", "tcp", bridgeLink + "%eth0", y.port, 0},
		{"ipv6-of-another-bridge", "udp", yardIPv6, y.port, 0},
	}
	machine, err := machineAddresses()
	if err != nil {
		t.Fatal(err)
	}
	machine = append(machine, netip.MustParseAddr(lateAddress))
	slices.SortFunc(machine, netip.Addr.Compare)
	for _, addr := range slices.Compact(machine) {
		if addr.Is4() {
			result = append(result, probe{"tcp-" + addr.String(), "tcp", addr.String(), y.port, 0}, probe{"udp-" + addr.String(), "udp", addr.String(), y.port, 0})
		}
	}
	return result
}

// reconfigured is the same unit's cloud after a change of the configuration.
func reconfigured(t *testing.T, cloud *Cloud, change func(*Config)) *Cloud {
	t.Helper()
	config := cloud.config
	change(&config)
	changed, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// broadcast is the last address of a subnet.
func broadcast(subnet netip.Prefix) string {
	bytes := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(bytes).String()
}
