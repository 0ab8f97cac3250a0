package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"

	"github-runner/charm/cloudinit"
	"github-runner/charm/guest"
	"github-runner/charm/runner"
)

// Bounds of the files that a runner leaves.
const (
	maxMetricsFile = 1 << 10
	maxDiagFile    = 256 << 10
)

// exchangePath is where a file for the manager is in a runner's machine.
func exchangePath(name string) string {
	return path.Join(cloudinit.ExchangeDir, name)
}

// address is where a server is reached: its own address, of IPv4 where it has one,
// before one that only leads to it.
func (s server) address() (netip.Addr, bool) {
	var all []netip.Addr
	floating := map[netip.Addr]bool{}
	for _, network := range s.Addresses {
		for _, one := range network {
			if parsed, err := netip.ParseAddr(one.Address); err == nil {
				all = append(all, parsed)
				floating[parsed] = one.isFloating()
			}
		}
	}
	if len(all) == 0 {
		return netip.Addr{}, false
	}
	rank := func(a netip.Addr) int {
		switch {
		case floating[a]:
			return 2
		case a.Is6():
			return 1
		}
		return 0
	}
	return slices.MinFunc(all, func(a, b netip.Addr) int {
		if by := rank(a) - rank(b); by != 0 {
			return by
		}
		return a.Compare(b)
	}), true
}

// Inspect implements runner.Inspector: it looks into the machine of a runner that
// runs, by SSH. Processes are not seen.
func (c *Cloud) Inspect(ctx context.Context, instance runner.Instance) (runner.Instance, error) {
	one, err := c.lastSeen(ctx, instance.Name)
	if err != nil {
		return instance, err
	}
	var wanted []guest.File
	for _, file := range []string{cloudinit.PreJobMetricsFile, cloudinit.PreJobDoneFile, cloudinit.PostJobMetricsFile, cloudinit.RunCompletedFile} {
		wanted = append(wanted, guest.File{Path: exchangePath(file), Max: maxMetricsFile})
	}
	files, err := c.read(ctx, one, wanted)
	if err != nil {
		return instance, fmt.Errorf("cannot look into %s: %w", instance.Name, err)
	}
	has := func(file string) bool {
		_, there := files[exchangePath(file)]
		return there
	}
	instance.TookJob = has(cloudinit.PreJobMetricsFile) || has(cloudinit.PreJobDoneFile)
	instance.PreJobDone = has(cloudinit.PreJobDoneFile)
	instance.Completed = has(cloudinit.RunCompletedFile)
	switch {
	case instance.Completed || has(cloudinit.PostJobMetricsFile):
		instance.Working = runner.WorkingNo
	case instance.TookJob:
		instance.Working = runner.WorkingYes
	default:
		instance.Working = runner.WorkingUnseen
	}
	return instance, nil
}

// lastSeen is a server of ours as it was last listed, or as it is where it was not.
func (c *Cloud) lastSeen(ctx context.Context, name string) (server, error) {
	if seen := c.seen.Load(); seen != nil {
		if one, ok := (*seen)[name]; ok && len(one.Addresses) > 0 {
			return one, nil
		}
	}
	in, err := c.session.open(ctx)
	if err != nil {
		return server{}, err
	}
	one, found, err := c.own(ctx, in, name)
	if err == nil && !found {
		err = fmt.Errorf("cannot look into %s: %w", name, runner.ErrNotFound)
	}
	return one, err
}

// errShut are machines that can't be looked into.
var errShut = errors.New("its machine has no address, or does not run")

// read reads files in a server's machine.
func (c *Cloud) read(ctx context.Context, one server, files []guest.File) (map[string][]byte, error) {
	address, ok := one.address()
	if c.config.Door == nil || !ok || status(one) != runner.StatusRunning {
		return nil, errShut
	}
	return c.config.Door.Read(ctx, one.Name, address, files)
}
