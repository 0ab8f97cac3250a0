package lxd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github-runner/charm/runner"
)

// addressGroups are the kernel's announcements of links and IPv4 addresses that
// come and go.
const addressGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR

// addressRecheck is how long the address is believed in without an announcement.
const addressRecheck = time.Minute

// BridgeAddress returns the machine's IPv4 address on the bridge of a unit's
// runners, and true; false while there is none.
func BridgeAddress(owner runner.Owner) (netip.Addr, bool) {
	bridge, err := net.InterfaceByName(Config{Owner: owner}.unitName())
	if err != nil {
		return netip.Addr{}, false
	}
	addresses, err := bridge.Addrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() {
			return prefix.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// WatchBridge sends the address on the bridge of a unit's runners, at first and
// whenever it is another one; the zero Addr is that there is none. It learns of
// changes from the kernel, until ctx ends; the channel is closed then.
func WatchBridge(ctx context.Context, owner runner.Owner) (<-chan netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the runners' bridge: %w", err)
	}
	announcements := os.NewFile(uintptr(fd), "netlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: addressGroups}); err != nil {
		return nil, fmt.Errorf("cannot watch the runners' bridge: %w", errors.Join(err, announcements.Close()))
	}
	stop := context.AfterFunc(ctx, func() { announcements.Close() })
	changes := make(chan netip.Addr)
	go func() {
		defer stop()
		defer announcements.Close()
		defer close(changes)
		watchBridge(ctx, owner, announcements, changes)
	}()
	return changes, nil
}

func watchBridge(ctx context.Context, owner runner.Owner, announcements *os.File, changes chan<- netip.Addr) {
	var last netip.Addr
	buffer := make([]byte, 64<<10)
	for first := true; ctx.Err() == nil; first = false {
		address, _ := BridgeAddress(owner)
		if first || address != last {
			select {
			case changes <- address:
				last = address
			case <-ctx.Done():
				return
			}
		}
		// What it says is of no interest, and that some were lost is none, either:
		// the address is looked up anew.
		_ = announcements.SetReadDeadline(time.Now().Add(addressRecheck))
		_, _ = announcements.Read(buffer)
	}
}
