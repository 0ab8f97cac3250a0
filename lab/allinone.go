package lab

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github-runner/lab/allinone"
	"github-runner/lab/image"
)

// openStackTimeout is how long a real OpenStack may take to start on a busy machine.
const openStackTimeout = 15 * time.Minute

// serversBlock has the addresses of real OpenStacks' servers: RFC 2544's for
// benchmarks, which no network uses. Each lab takes a /22 of it.
var serversBlock = netip.MustParsePrefix("198.18.0.0/16")

// AdminPath is the clouds.yaml of the administrator of a real OpenStack.
func (l *Lab) AdminPath() string {
	return filepath.Join(cmp.Or(l.Share, l.Dir), "admin-clouds.yaml")
}

// chooseOpenStack says that a real OpenStack it is, or why it can't be.
func chooseOpenStack(options Options) error {
	if options.Share != "" {
		if _, err := sharedBy(options.Share); err != nil {
			return err
		}
		fmt.Fprintf(options.Progress, "cloud: the real OpenStack of the lab in %s, as asked for\n", options.Share)
		return nil
	}
	guests := cmp.Or(options.Guests, allinone.Fake)
	if obstacle := openStackObstacle(guests, options.Images); obstacle != "" {
		return fmt.Errorf("cannot start a lab on a real OpenStack: %s", obstacle)
	}
	fmt.Fprintf(options.Progress, "cloud: a real OpenStack, as asked for, with servers of the kind %s\n", guests)
	return nil
}

// openStackObstacle says why this process can't run an OpenStack; "" when it can.
func openStackObstacle(guests allinone.Guests, builder image.Builder) string {
	switch {
	case guests != allinone.Fake && guests != allinone.QEMU:
		return fmt.Sprintf("its servers can't be %q: choose %s or %s", guests, allinone.Fake, allinone.QEMU)
	case os.Geteuid() != 0:
		return "it needs root"
	case !hasCapabilities(capSysAdmin | capNetAdmin):
		return "root may not mount and may not make networks here"
	}
	if obstacle := allinone.Obstacle(guests); obstacle != "" {
		return obstacle + " ('make openstack' installs it on Debian 12)"
	}
	return ""
}

// startOpenStack starts GitHub's stand-in and an OpenStack in one network namespace.
func (l *Lab) startOpenStack(ctx context.Context, images image.Builder, step func(string)) error {
	if l.Share != "" {
		return l.joinOpenStack(ctx, step)
	}
	l.Guests = cmp.Or(l.Guests, allinone.Fake)
	l.OpenStack = &OpenStack{Flavor: "m1.small", Network: "lab", Image: "noble"}
	if err := l.startNetwork(ctx); err != nil {
		return err
	}
	subnet := l.Network.servers()
	// A unit reaches its servers by SSH.
	if err := run(ctx, "ip", "route", "add", subnet.String(), "via", l.Network.StandIn.String()); err != nil {
		return fmt.Errorf("cannot make a way to the servers: %w", err)
	}
	if err := l.startGitHubInside(ctx, step); err != nil {
		return err
	}
	args := []string{"--address", l.Network.StandIn.String(), "--subnet", subnet.String(), "--guests", string(l.Guests)}
	if l.Guests == allinone.QEMU {
		built, err := images.BuildServer(ctx)
		if err != nil {
			return err
		}
		args = append(args, "--disk", built.Disk, "--kernel", built.Kernel, "--initrd", built.Initrd)
	}
	step("starting an OpenStack of the lab's own, which takes a minute or two")
	s := l.Network.inside(l.server("keep-allinone", args...))
	s.patience, s.first = openStackTimeout, true
	err := l.start(ctx, s)
	if err != nil || l.Guests != allinone.Fake {
		return err
	}
	// The servers' addresses are those of the programs that let guests live in them.
	if err := run(ctx, "ip", "-n", l.Network.Namespace, "route", "add", "local", subnet.String(), "dev", "lo"); err != nil {
		return fmt.Errorf("cannot let guests live in servers: %w", err)
	}
	if l.ProjectID, err = l.projectID(ctx); err != nil {
		return err
	}
	return l.startFakeGuests(ctx, l.Network, step)
}

// projectID is the ID of the project of the lab's clouds.yaml.
func (l *Lab) projectID(ctx context.Context) (string, error) {
	p, err := l.Project(ctx)
	if err != nil {
		return "", err
	}
	return p.ID()
}

// startFakeGuests lets guests live in the servers of the lab's project, in the network
// where the OpenStack is.
func (l *Lab) startFakeGuests(ctx context.Context, at *network, step func(string)) error {
	step("letting guests live in its servers")
	return l.start(ctx, at.inside(l.server("serve-fake-guests")))
}

// servers are the addresses for servers that go with the stand-in's.
func (n *network) servers() netip.Prefix {
	const bits = 22
	number := n.StandIn.As4()[3] / 4
	base := serversBlock.Addr().As4()
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1], number << (24 - bits), 0}), bits)
}
