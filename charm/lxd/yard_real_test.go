package lxd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
)

// The addresses of a yard, all of ranges that no network uses.
const (
	yardLink    = "ghrtest1" // a bridge of the machine's
	yardAddress = "198.18.77.1"
	yardIPv6    = "fd00:78::1"
	lateAddress = "198.18.78.1" // which the machine gets late
	behindYard  = "198.18.77.2" // another machine on that bridge
	deniedHost  = "203.0.113.5" // another machine elsewhere
	debugHost   = "203.0.113.6" // and one for debugging sessions
	metadata    = "169.254.169.254"

	bridgeIPv6 = "fd00:77::1" // the machine's on a runners' bridge
	bridgeLink = "fe80::77"
)

// yard is what is around a runner: listeners on this machine and on others, at
// all kinds of addresses.
type yard struct {
	dir   string
	port  int // TCP and UDP, on all addresses of this machine
	dns   *net.UDPConn
	open  *net.UDPConn
	mu    sync.Mutex
	heard map[string]bool
}

// ports of the other machines.
const (
	debugPort = 2200
	otherPort = 2201
)

// publishedPort is forwarded to another machine's otherPort.
const publishedPort = 9999

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// newYard builds it around the network namespace that web lives in. Packets from
// the bridges given find the other machines there; nobody else's are touched.
func newYard(t *testing.T, space string, bridges ...string) *yard {
	t.Helper()
	ip(t, "link", "add", yardLink, "type", "bridge")
	t.Cleanup(func() { exec.Command("ip", "link", "delete", yardLink).Run() })
	ip(t, "address", "add", yardAddress+"/24", "dev", yardLink)
	ip(t, "address", "add", yardIPv6+"/64", "dev", yardLink, "nodad")
	ip(t, "link", "set", yardLink, "up")
	ip(t, "link", "add", "ghrtest2", "type", "veth", "peer", "name", "yard0", "netns", space)
	// The namespace outlives its name as long as somebody listens in it.
	t.Cleanup(func() { exec.Command("ip", "link", "delete", "ghrtest2").Run() })
	ip(t, "link", "set", "ghrtest2", "master", yardLink, "up")
	ip(t, "-n", space, "address", "add", behindYard+"/24", "dev", "yard0")
	ip(t, "-n", space, "link", "set", "yard0", "up")
	for _, address := range []string{deniedHost, debugHost, metadata} {
		ip(t, "-n", space, "address", "add", address+"/32", "dev", "lo")
		ip(t, "route", "add", address+"/32", "via", webAddress, "table", "7777")
		for _, bridge := range bridges {
			ip(t, "rule", "add", "iif", bridge, "to", address, "lookup", "7777")
			t.Cleanup(func() { exec.Command("ip", "rule", "delete", "iif", bridge, "to", address, "lookup", "7777").Run() })
		}
	}
	rules := fmt.Sprintf(`table ip ghrtest {
		chain published { type nat hook prerouting priority dstnat; ip daddr %s tcp dport %d dnat to %s:%d; }
	}`, yardAddress, publishedPort, behindYard, otherPort)
	if _, err := nft(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nft(context.Background(), "delete table ip ghrtest") })

	y := &yard{dir: os.Getenv(realDirVariable), heard: map[string]bool{}}
	for _, port := range []int{debugPort, otherPort} {
		y.greet(t, listenIn(t, "/run/netns/"+space, fmt.Sprintf("0.0.0.0:%d", port)))
	}
	all, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	y.greet(t, all)
	y.port = all.Addr().(*net.TCPAddr).Port
	y.open = y.hear(t, fmt.Sprintf(":%d", y.port))
	y.dns = y.hear(t, yardAddress+":53")
	dns, err := net.Listen("tcp4", yardAddress+":53")
	if err != nil {
		t.Fatal(err)
	}
	y.greet(t, dns)
	return y
}

// greet says "ok" to everybody who connects.
func (y *yard) greet(t *testing.T, listener net.Listener) {
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(connection, "ok")
			connection.Close()
		}
	}()
}

// hear notes what arrives.
func (y *yard) hear(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	ear, err := net.ListenUDP("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ear.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			n, _, err := ear.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			y.mu.Lock()
			y.heard[string(buffer[:n])] = true
			y.mu.Unlock()
		}
	}()
	return ear
}

// probe is one attempt to reach something.
type probe struct {
	Name    string `json:"name"`
	Network string `json:"network"` // tcp, udp or dns
	Address string `json:"address"`
	Port    int    `json:"port"`
	// Timeout is how long it may take, in seconds; 0: one.
	Timeout float64 `json:"timeout"`
}

// prober tries all of the probes that it is given and prints the names of those
// that were answered.
const prober = `
import json, socket, sys
for p in json.load(sys.stdin):
    try:
        kind = socket.SOCK_STREAM if p["network"] == "tcp" else socket.SOCK_DGRAM
        family, _, _, _, address = socket.getaddrinfo(p["address"], p["port"], type=kind)[0]
        s = socket.socket(family, kind)
        s.settimeout(p["timeout"] or 1)
        if p["network"] == "dns":
            s.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\x08_gateway\3lxd\0\0\1\0\1", address)
            if s.recv(512)[7] == 1: print(p["name"])
        elif p["network"] == "udp":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.sendto(p["name"].encode(), address)
        else:
            s.connect(address)
            if s.recv(2) == b"ok": print(p["name"])
    except OSError as e:
        print(p["name"], "is closed:", e, file=sys.stderr)
`

// greeter is a runner's own listener.
const greeter = `
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 2201))
s.listen()
print("listening", flush=True)
while True:
    c, _ = s.accept()
    c.send(b"ok")
    c.close()
`

// patient opens a connection to the web server and uses it when it is told to.
const patient = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 5)
print("open", flush=True)
sys.stdin.readline()
s.settimeout(2)
s.send(b"GET /call/patient HTTP/1.0\r\n\r\n")
print("used" if s.recv(1) else "closed", flush=True)
`

// inside prepares a command in a runner, as root.
func (y *yard) inside(ctx context.Context, name string, command ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "lxc", append([]string{"exec", name, "--"}, command...)...)
	cmd.Env = append(os.Environ(), "LXD_DIR="+y.dir)
	cmd.WaitDelay = lingering
	return cmd
}

// run runs a shell's commands in a runner.
func (y *yard) run(t *testing.T, name, commands string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := y.inside(ctx, name, "sh", "-ec", commands).CombinedOutput(); err != nil {
		t.Fatalf("in %s: %v: %s", name, err, out)
	}
}

// listen starts the listener in a runner.
func (y *yard) listen(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := y.inside(ctx, name, "python3", "-c", greeter)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	if _, err := io.ReadAtLeast(out, make([]byte, 9), 9); err != nil {
		t.Fatalf("nobody listens in %s: %v", name, err)
	}
}

// reached returns the names of the probes that got through from a runner.
func (y *yard) reached(t *testing.T, name string, probes []probe) []string {
	t.Helper()
	y.mu.Lock()
	clear(y.heard)
	y.mu.Unlock()
	input, err := json.Marshal(probes)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := y.inside(ctx, name, "python3", "-c", prober)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probing from %s: %v: %s", name, err, &stderr)
	}
	t.Logf("from %s:\n%s", name, &stderr)
	y.flush(t, y.open)
	y.flush(t, y.dns)
	answered := strings.Fields(string(out))
	y.mu.Lock()
	defer y.mu.Unlock()
	var reached []string
	for _, p := range probes {
		if slices.Contains(answered, p.Name) || y.heard[p.Name] {
			reached = append(reached, p.Name)
		}
	}
	return reached
}

// flush returns when everything that has arrived so far was noted.
func (y *yard) flush(t *testing.T, ear *net.UDPConn) {
	t.Helper()
	at := ear.LocalAddr().(*net.UDPAddr).AddrPort()
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	marker := "marker " + at.String()
	connection, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, marker); err != nil {
		t.Fatal(err)
	}
	// A real socket's other end tells of nothing but what it noted.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		y.mu.Lock()
		heard := y.heard[marker]
		y.mu.Unlock()
		if heard {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not hear this machine itself", at)
		}
	}
}

// lift takes away all isolation, as somebody might by hand.
func lift(t *testing.T, cloud *Cloud) {
	t.Helper()
	server, cancel, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	if err := cloud.removeGuard(t.Context()); err != nil {
		t.Fatal(err)
	}
	profile := cloud.profile(false)
	for key := range profile.Devices["eth0"] {
		if strings.HasPrefix(key, "security.") {
			delete(profile.Devices["eth0"], key)
		}
	}
	if err := server.change(http.MethodPut, apiPath("profiles", cloud.profileName(false)), profile, ""); err != nil {
		t.Fatal(err)
	}
	networks, err := server.GetNetworks()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(networks, func(n api.Network) bool { return n.Name == cloud.config.unitName() })
	config := networks[at].Config
	delete(config, "security.acls")
	delete(config, "security.acls.default.egress.action")
	if err := server.change(http.MethodPut, apiPath("networks", networks[at].Name), api.NetworkPut{Config: config}, ""); err != nil {
		t.Fatal(err)
	}
}

// gatewayOf is the machine's address on the cloud's bridge.
func gatewayOf(t *testing.T, cloud *Cloud) netip.Prefix {
	t.Helper()
	link, err := net.InterfaceByName(cloud.config.unitName())
	if err != nil {
		t.Fatal(err)
	}
	all, err := link.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range all {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() {
			return prefix
		}
	}
	t.Fatalf("%s has no address", cloud.config.unitName())
	return netip.Prefix{}
}

// addressOf returns a runner's address on its bridge, once it works: a change of
// the profile's filters makes runners ask for another one.
func (y *yard) addressOf(t *testing.T, name string) string {
	t.Helper()
	working := []probe{{"web", "tcp", webAddress, otherPort, 0}}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		out, err := y.inside(ctx, name, "sh", "-c", "ip -4 -o address show dev eth0 | sed 's/.* inet //; s,/.*,,'").Output()
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if address := strings.TrimSpace(string(out)); address != "" && len(y.reached(t, name, working)) == 1 {
			return address
		}
	}
	t.Fatalf("%s has no working address", name)
	return ""
}
