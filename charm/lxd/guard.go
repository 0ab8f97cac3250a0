package lxd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"

	"github-runner/charm/runner"
)

// guardTable is the unit's own nftables table. It closes what LXD's ACL can't:
//
//   - addresses that the machine gets after the ACL was written, and those that
//     no list has: broadcast, multicast, the loopback where route_localnet is on
//   - ports 53, 67 and 547 of the machine's other addresses: LXD lets them
//     through ahead of every ACL, whatever address they are sent to
//   - ports of the machine that are forwarded elsewhere, such as Docker's
//     published ones: their destination is another one by the time that an ACL
//     looks at it, so this looks before any destination is translated
//   - the bridges of the machine's other units, also those to come
//   - the denylist, while LXD has emptied the chain of the ACL and not filled it
//     yet, as it does for most of a second when it starts or writes the network
//     anew; and on connections that were open before, which an ACL lets go on
//
// And it translates the runners' addresses, as LXD does: when LXD starts, it removes
// its rule for that and makes it again a moment later. Jobs would lose the connections
// that are open, and not hear of it.
//
// It replaces itself in one transaction: there is never a moment without it.
const guardTable = `table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain machine {
		type filter hook prerouting priority mangle; policy accept;
		iifname != "%[1]s" accept
		ip daddr %[2]s udp dport { 53, 67 } accept
		ip daddr 255.255.255.255 udp dport 67 accept
		ip daddr %[2]s tcp dport { %[3]s } accept
		fib daddr type != unicast reject
		meta nfproto ipv6 reject
	}
	chain others {
		type filter hook forward priority filter - 1; policy accept;
		iifname != "%[1]s" accept
		oifname "ghr-*" reject
%[4]s		ip daddr { %[5]s } reject
	}
	chain addresses {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr %[6]s ip daddr != %[6]s masquerade
	}
}
`

// guardRules are the commands that make the table anew.
func (c Config) guardRules(gateway netip.Prefix, b borders) string {
	ports := "53"
	if c.Policy.isOn() {
		ports += fmt.Sprintf(", %d", c.Policy.Port)
	}
	var open strings.Builder
	for _, at := range b.open {
		fmt.Fprintf(&open, "\t\tip daddr %s tcp dport %d accept\n", at.Addr(), at.Port())
	}
	return fmt.Sprintf(guardTable, c.unitName(), gateway.Addr(), ports, &open, join(b.closed, ", "), gateway.Masked())
}

// ensureGuard puts the table in force. A bridge that this machine does not have,
// such as that of an emulated LXD, needs none.
func (c *Cloud) ensureGuard(ctx context.Context, gateway netip.Prefix, b borders) error {
	if _, err := net.InterfaceByName(c.config.unitName()); err != nil {
		return nil
	}
	if _, err := nft(ctx, c.config.guardRules(gateway, b)); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return runner.Trouble{Advice: "install nftables on this machine: apt-get install nftables", Err: fmt.Errorf("cannot close the machine to runners: %w", err)}
		}
		return fmt.Errorf("cannot close the machine to runners: %w", err)
	}
	return nil
}

// absent are nft's words for a table that is not there, and for one that this
// process could never have made.
var absent = []string{"No such file or directory", "Operation not permitted"}

// removeGuard removes the table, if there is one.
func (c *Cloud) removeGuard(ctx context.Context) error {
	_, err := nft(ctx, "delete table inet "+c.config.unitName())
	if err == nil || errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	for _, words := range absent {
		if strings.Contains(err.Error(), words) {
			return nil
		}
	}
	return fmt.Errorf("cannot remove the nftables table %s: %w", c.config.unitName(), err)
}

// nft runs commands of nftables, all or none of them, and returns what they print.
func nft(ctx context.Context, commands string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	cmd.WaitDelay = lingering
	var said bytes.Buffer
	cmd.Stderr = &said
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return string(output), nil
}
