package lxd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// netFolder is where the kernel shows the machine's network interfaces.
const netFolder = "/sys/class/net"

// keyLink is how LXD calls the machine's end of the pair of interfaces that joins an
// instance to the bridge. LXD takes it away when it stops the instance.
const keyLink = "volatile.eth0.host_name"

// isLink reports whether LXD calls such ends so: a container's, or a virtual machine's.
func isLink(name string) bool {
	return strings.HasPrefix(name, "veth") || strings.HasPrefix(name, "tap")
}

// dropRemains removes what is left on the machine of an instance that is gone: a pair of
// interfaces, and the filter for the machine's end of it. LXD leaves both where a
// container ends while the daemon is away, as it is when its snap is refreshed. What
// can't be removed is told, and tried again with the unit's removal.
func (c *Cloud) dropRemains(ctx context.Context, gone api.Instance) {
	link := gone.Config[keyLink]
	if !isLink(link) || filepath.Base(link) != link {
		return
	}
	if _, err := os.Lstat(filepath.Join(c.portsFolder(), link)); err != nil {
		return
	}
	c.deleteLink(ctx, link)
	c.deleteFilters(ctx, func(instance string) bool { return instance == gone.Name })
}

// dropAllRemains does so for all instances that the unit ever had, while it has none: on
// its bridge they are the interfaces that lead nowhere.
func (c *Cloud) dropAllRemains(ctx context.Context) {
	ports, err := os.ReadDir(c.portsFolder())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.WithError(err).Warn("cannot look for network interfaces that LXD left")
		}
		return // an emulated LXD has no bridge, either
	}
	for _, port := range ports {
		if isLink(port.Name()) && !hasCarrier(port.Name()) {
			c.deleteLink(ctx, port.Name())
		}
	}
	c.deleteFilters(ctx, func(instance string) bool { return strings.HasPrefix(instance, c.config.Owner.Prefix()) })
}

// portsFolder lists the interfaces on the unit's bridge.
func (c *Cloud) portsFolder() string {
	return filepath.Join(netFolder, c.config.unitName(), "brif")
}

// hasCarrier reports whether the interface is joined to something that is up. The
// kernel refuses the answer for an interface that is down itself.
func hasCarrier(link string) bool {
	carrier, err := os.ReadFile(filepath.Join(netFolder, link, "carrier"))
	return err == nil && string(bytes.TrimSpace(carrier)) == "1"
}

// deleteLink removes an interface, and with it the other one of its pair.
func (c *Cloud) deleteLink(ctx context.Context, link string) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "link", "delete", "dev", link)
	cmd.WaitDelay = lingering
	output, err := cmd.CombinedOutput()
	log := c.log.WithField("link", link)
	if err == nil {
		log.Info("a network interface that LXD left was removed")
		return
	}
	// Another process may have been faster.
	if _, gone := os.Lstat(filepath.Join(netFolder, link)); gone == nil {
		log.WithError(fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(output))).Warn("a network interface that LXD left stays")
	}
}

// filterTable is nftables' name for LXD's table with the filters of bridges' ports.
const filterTable = "bridge lxd"

// deleteFilters removes LXD's filters for ports of the instances that are named.
func (c *Cloud) deleteFilters(ctx context.Context, gone func(instance string) bool) {
	table, err := nft(ctx, "list table "+filterTable)
	if err != nil {
		// There is none where LXD filters with xtables.
		c.log.WithError(err).Debug("filters that LXD left are not looked for")
		return
	}
	var commands strings.Builder
	for line := range strings.Lines(table) {
		chain, ok := strings.CutPrefix(strings.TrimSpace(line), "chain ")
		chain, _ = strings.CutSuffix(chain, " {")
		// Such as in.NAME.eth0, fwd.NAME.eth0.
		if parts := strings.Split(chain, "."); ok && len(parts) == 3 && gone(parts[1]) {
			fmt.Fprintf(&commands, "flush chain %s %s\ndelete chain %s %s\n", filterTable, chain, filterTable, chain)
		}
	}
	if commands.Len() == 0 {
		return
	}
	if _, err := nft(ctx, commands.String()); err != nil {
		c.log.WithError(err).Warn("filters of network interfaces that LXD left stay")
	}
}
