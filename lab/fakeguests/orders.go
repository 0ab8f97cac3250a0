package fakeguests

import (
	"fmt"

	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/openstack"
)

// PowerOffHangs is a fault of fake guests, besides those of package guests.
const PowerOffHangs = openstack.PowerOffHangs

// orders are those about guests.
func (h *Host) orders() map[string]faults.Order { return openstack.GuestOrders(h.inside) }

// inside is the guest of a server.
func (h *Host) inside(name string) (openstack.Guest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.servers {
		if v.name == name {
			return inside{v}, nil
		}
	}
	return nil, fmt.Errorf("there is no server %q", name)
}

// inside is a server as orders see it.
type inside struct{ *server }

// File implements openstack.Guest.
func (i inside) File(path string) (content string, there bool) {
	content, there = i.machine.File(path)
	if !there {
		content = guests.WrittenFile(i.userData, path)
		there = content != ""
	}
	return content, there
}

// Leave implements openstack.Guest.
func (i inside) Leave(name, content string) { i.machine.Leave(name, content) }

// Kill implements openstack.Guest.
func (i inside) Kill() error {
	i.host.mu.Lock()
	defer i.host.mu.Unlock()
	if i.guest == nil {
		return fmt.Errorf("the server %q is off", i.name)
	}
	i.guest.kill()
	return nil
}
