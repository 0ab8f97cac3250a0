package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The block of addresses for GitHub stand-ins: TEST-NET-2 of RFC 5737, which no
// network uses. Each lab takes a /30 of it.
var standInBlock = netip.MustParsePrefix("198.51.100.0/24")

const commandTimeout = 30 * time.Second

// network is a network namespace for the GitHub stand-in, joined to the machine
// by a pair of interfaces: a runner may reach none of the machine's own
// addresses, so the stand-in needs one that is not the machine's.
type network struct {
	// Namespace is the name under /run/netns.
	Namespace string `json:"namespace"`
	// Link is the machine's end of the pair.
	Link string `json:"link"`
	// Host is the address of the machine's end, StandIn of the namespace's.
	Host    netip.Addr `json:"host"`
	StandIn netip.Addr `json:"stand_in"`
}

// planNetwork chooses names by the lab's directory and free addresses. It
// changes nothing.
func planNetwork(dir string) (*network, error) {
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list this machine's addresses: %w", err)
	}
	base, err := freeSubnet(taken)
	if err != nil {
		return nil, err
	}
	tag := tagOf(dir)
	host := base.Next()
	return &network{
		Namespace: "lab-" + tag,
		Link:      "lab-" + tag,
		Host:      host,
		StandIn:   host.Next(),
	}, nil
}

// freeSubnet returns the first address of a /30 of standInBlock in which no
// address is taken.
func freeSubnet(taken []net.Addr) (netip.Addr, error) {
	for base := standInBlock.Addr(); standInBlock.Contains(base); base = next(base, 4) {
		subnet := netip.PrefixFrom(base, 30)
		if !anyOverlaps(subnet, taken) {
			return base, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("cannot find free addresses for the GitHub stand-in: every /30 of %s is taken", standInBlock)
}

func anyOverlaps(subnet netip.Prefix, taken []net.Addr) bool {
	for _, address := range taken {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && prefix.Overlaps(subnet) {
			return true
		}
	}
	return false
}

func next(address netip.Addr, steps int) netip.Addr {
	for range steps {
		address = address.Next()
	}
	return address
}

// tagOf makes names unique among the labs of one machine.
func tagOf(dir string) string {
	sum := fnv.New32a()
	sum.Write([]byte(dir))
	return fmt.Sprintf("%08x", sum.Sum32())
}

// up makes the namespace and the pair.
func (n *network) up(ctx context.Context) error {
	peer := n.Link + "-in"
	steps := [][]string{
		{"ip", "netns", "add", n.Namespace},
		{"ip", "link", "add", n.Link, "type", "veth", "peer", "name", peer},
		{"ip", "link", "set", peer, "netns", n.Namespace},
		{"ip", "addr", "add", n.Host.String() + "/30", "dev", n.Link},
		{"ip", "link", "set", n.Link, "up"},
		{"ip", "-n", n.Namespace, "link", "set", "lo", "up"},
		{"ip", "-n", n.Namespace, "addr", "add", n.StandIn.String() + "/30", "dev", peer},
		{"ip", "-n", n.Namespace, "link", "set", peer, "up"},
		{"ip", "-n", n.Namespace, "route", "add", "default", "via", n.Host.String()},
	}
	for _, argv := range steps {
		if err := run(ctx, argv...); err != nil {
			return fmt.Errorf("cannot make the GitHub stand-in's network: %w", err)
		}
	}
	return nil
}

// inside is a process in the network namespace.
func (n *network) inside(s spawn) spawn {
	s.argv = append([]string{"ip", "netns", "exec", n.Namespace}, s.argv...)
	return s
}

// down removes what up made, as far as it is there, and returns what it
// removed.
func (n *network) down(ctx context.Context) (removed []string, err error) {
	var problems []error
	if _, err := net.InterfaceByName(n.Link); err == nil {
		problems = append(problems, run(ctx, "ip", "link", "delete", n.Link))
		removed = append(removed, "interface "+n.Link)
	}
	if _, err := os.Stat(filepath.Join("/run/netns", n.Namespace)); err == nil {
		problems = append(problems, run(ctx, "ip", "netns", "delete", n.Namespace))
		removed = append(removed, "network namespace "+n.Namespace)
	}
	return removed, errors.Join(problems...)
}

// alone reports whether no other lab's interface is on the machine.
func (n *network) alone() bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	addresses = slices.DeleteFunc(addresses, func(address net.Addr) bool {
		prefix, err := netip.ParsePrefix(address.String())
		return err == nil && prefix.Addr() == n.Host
	})
	return !anyOverlaps(standInBlock, addresses)
}

// anyLab reports whether a lab's interface is on the machine.
func anyLab() bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return anyOverlaps(standInBlock, addresses)
}

// run runs a command of the system within a deadline; its error holds what the
// command said.
func run(ctx context.Context, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run %q: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
