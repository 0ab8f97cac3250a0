package openstack

import (
	"slices"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github-runner/lab/faults"
	"github-runner/lab/openstack"
)

// losePort makes a server that somebody else deletes, and returns the port that it has
// left.
func (u *unit) losePort() string {
	u.yard.Helper()
	ctx, in := u.yard.Context(), u.services()
	id := u.id(u.create())
	u.yard.built()
	its, err := in.portsOf(ctx, id)
	must(u.yard.T, err)
	u.yard.fault(faults.Fault{Kind: openstack.PortLeft, Count: 1})
	must(u.yard.T, servers.Delete(ctx, in.compute, id).ExtractErr())
	u.yard.wait(u.yard.timing.Delete)
	return its[0].ID
}

// hasPort reports whether there is a port.
func (u *unit) hasPort(id string) bool {
	u.yard.Helper()
	all, err := u.services().ports(u.yard.Context(), ports.ListOpts{})
	must(u.yard.T, err)
	return slices.ContainsFunc(all, func(one ports.Port) bool { return one.ID == id })
}

// The port of a server that somebody else deleted goes when an hour has passed, and
// nobody else's does.
func TestPortsThatAreLeftAreSwept(t *testing.T) {
	for what, count := range map[string]int{"runners are wanted": 1, "none is": 0} {
		t.Run(what, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u, other := y.unit(mine), y.unit(theirs)
				old, foreign := u.losePort(), other.losePort()
				alive := u.create()
				y.wait(sweepInterval - sweepAge/2)
				young := u.losePort()
				u.list()
				u.calls.take()
				u.prepare(count)
				if n := u.calls.count("GET /network/v2.0/ports"); n != 0 {
					t.Errorf("%d lists of ports within the hour", n)
				}
				y.wait(sweepAge / 2)
				u.prepare(count)
				u.prepare(count)
				if n := u.calls.count("GET /network/v2.0/ports"); n != 1 {
					t.Errorf("%d lists of ports in two reconciles", n)
				}
				if n := u.calls.count("GET /compute/v2.1/servers/"); n != 1 {
					t.Errorf("%d servers were looked for: %v", n, u.calls.take())
				}
				if u.hasPort(old) {
					t.Error("the port of a server that is gone is left")
				}
				if !u.hasPort(young) || !u.hasPort(foreign) {
					t.Error("a port that may not have a server yet is gone, or another unit's")
				}
				if its, err := u.services().portsOf(y.Context(), u.id(alive)); err != nil || len(its) != 1 {
					t.Errorf("a server that lives has the ports %+v, %v", its, err)
				}
			})
		})
	}
}

// A sweep that fails is no trouble, and is made up for.
func TestASweepThatFails(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		port := u.losePort()
		u.list()
		y.fault(faults.Fault{Kind: openstack.CallFails, Name: "DELETE */ports/*", Count: 1})
		y.wait(sweepInterval)
		u.prepare(1)
		if !u.hasPort(port) {
			t.Error("the fault has not struck")
		}
		y.wait(sweepInterval)
		u.prepare(1)
		if u.hasPort(port) {
			t.Error("what could not be removed is there still")
		}
	})
}
