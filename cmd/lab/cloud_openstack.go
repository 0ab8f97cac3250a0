package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/cloudinit"
	"github-runner/lab"
	"github-runner/lab/allinone"
	emulation "github-runner/lab/openstack"
	"github-runner/lab/project"
)

// serverInterval is how often the servers are looked at: Nova tells of no event.
const serverInterval = 100 * time.Millisecond

// openstackCloud is the project of the lab's OpenStack, real or emulated.
type openstackCloud struct {
	lab *lab.Lab
	// open opens the project, once. Commands that need it not, such as those for
	// faults, must not meet the faults.
	open func() (*project.Project, error)
}

// emulatedGuests are what runs in the servers of the emulation.
type emulatedGuests struct {
	control emulation.Control
}

var (
	_ cloud  = openstackCloud{}
	_ inside = emulatedGuests{}
)

// openstackTarget is the project of the lab's OpenStack. It makes no call.
func openstackTarget(ctx context.Context, l *lab.Lab, env environment) target {
	open := sync.OnceValues(func() (*project.Project, error) { return l.Project(ctx) })
	t := target{lab: l, env: env, cloud: openstackCloud{lab: l, open: open}}
	kinds := emulation.Kinds()
	if !l.Emulated() {
		kinds = emulation.GuestKinds().Lines()
	}
	if l.Emulated() || l.Guests == allinone.Fake {
		control := emulation.Dial(l.CloudSocket())
		t.inside, t.control, t.kinds = emulatedGuests{control}, control.Control, kinds
	}
	return t
}

// statusWords are Nova's statuses in the words that LXD has for them. The others are
// told as they are, in lower case.
var statusWords = map[string]string{
	"ACTIVE": "running", "SHUTOFF": "stopped", "BUILD": "starting", "REBOOT": "running", "HARD_REBOOT": "running",
}

// statusOf is a server's status in LXD's words.
func statusOf(v servers.Server) string {
	if v.TaskState == "deleting" {
		return v.TaskState
	}
	return cmp.Or(statusWords[v.Status], strings.ToLower(v.Status))
}

// Instances implements cloud.
func (c openstackCloud) Instances(ctx context.Context) ([]instanceInfo, error) {
	p, err := c.open()
	if err != nil {
		return nil, err
	}
	all, err := p.Servers(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]instanceInfo, 0, len(all))
	for _, v := range all {
		image, _ := v.Image["id"].(string) // none where it boots from a volume
		infos = append(infos, instanceInfo{
			Name: v.Name, Status: statusOf(v), Type: "virtual-machine",
			Created: v.Created, Image: image, Metadata: v.Metadata,
		})
	}
	slices.SortStableFunc(infos, func(a, b instanceInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// Watch implements cloud, by looking again and again.
func (c openstackCloud) Watch(ctx context.Context) (<-chan struct{}, error) {
	changed := make(chan struct{})
	go func() {
		tick := time.NewTicker(serverInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return changed, nil
}

// check tells by a look at a server, and the look's error, whether it is as wanted.
type check func(v servers.Server, err error) (bool, error)

// ask asks for something to be done with the server of a name, and waits until the
// server is as wanted.
func (c openstackCloud) ask(ctx context.Context, what, name string, do func(ctx context.Context, nova *gophercloud.ServiceClient, id string) error, wanted check) error {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	p, err := c.open()
	if err != nil {
		return err
	}
	v, err := p.Server(ctx, name)
	if err == nil {
		err = do(ctx, p.Compute, v.ID)
	}
	if err == nil {
		err = c.await(ctx, p.Compute, v.ID, wanted)
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", what, name, err)
	}
	return nil
}

// await looks at a server until it is as wanted.
func (c openstackCloud) await(ctx context.Context, nova *gophercloud.ServiceClient, id string, wanted check) error {
	changed, err := c.Watch(ctx)
	if err != nil {
		return err
	}
	for {
		var now servers.Server
		err := servers.Get(ctx, nova, id).ExtractInto(&now)
		if is, err := wanted(now, err); is || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("it is still %s: %w", statusOf(now), ctx.Err())
		}
	}
}

// has is a check for a status.
func has(status string) check {
	return func(v servers.Server, err error) (bool, error) {
		if err == nil && v.Status == "ERROR" {
			err = errors.New("it is in ERROR: " + v.Fault.Message)
		}
		return v.Status == status && v.TaskState == "", err
	}
}

// calm is a check for a server with which nothing is being done.
func calm(v servers.Server, err error) (bool, error) {
	return err == nil && v.TaskState == "", err
}

// gone is a check for a server that is there no more.
func gone(v servers.Server, err error) (bool, error) {
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) || v.Status == "DELETED" {
		return true, nil
	}
	return false, err
}

// Stop implements cloud.
func (c openstackCloud) Stop(ctx context.Context, name string) error {
	return c.ask(ctx, "stop", name, func(ctx context.Context, nova *gophercloud.ServiceClient, id string) error {
		return servers.Stop(ctx, nova, id).ExtractErr()
	}, has("SHUTOFF"))
}

// Delete implements cloud.
func (c openstackCloud) Delete(ctx context.Context, name string) error {
	return c.ask(ctx, "delete", name, func(ctx context.Context, nova *gophercloud.ServiceClient, id string) error {
		return servers.Delete(ctx, nova, id).ExtractErr()
	}, gone)
}

// Reboot implements cloud.
func (c openstackCloud) Reboot(ctx context.Context, name string) error {
	return c.ask(ctx, "reboot", name, func(ctx context.Context, nova *gophercloud.ServiceClient, id string) error {
		return servers.Reboot(ctx, nova, id, servers.RebootOpts{Type: servers.HardReboot}).ExtractErr()
	}, calm)
}

// AddForeign implements cloud.
func (c openstackCloud) AddForeign(ctx context.Context, name string) error {
	p, err := c.open()
	if err != nil {
		return err
	}
	uses := c.lab.OpenStack
	id, err := p.Create(ctx, project.Order{Name: name, Flavor: uses.Flavor, Image: uses.Image, Network: uses.Network})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	if err := c.await(ctx, p.Compute, id, has("ACTIVE")); err != nil {
		return fmt.Errorf("cannot make %s: %w", name, err)
	}
	return nil
}

// Images implements cloud.
func (c openstackCloud) Images(ctx context.Context) ([]imageInfo, error) {
	p, err := c.open()
	if err != nil {
		return nil, err
	}
	all, err := p.Images(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]imageInfo, 0, len(all))
	for _, image := range all {
		infos = append(infos, imageInfo{ID: image.ID, Type: "virtual-machine", Names: []string{image.Name}, Description: string(image.Status)})
	}
	return infos, nil
}

// RenewImage implements cloud.
func (c openstackCloud) RenewImage(ctx context.Context, name string) (id string, err error) {
	if !c.lab.Emulated() {
		return "", fmt.Errorf("cannot renew the image %s: that is for those who run the cloud", name)
	}
	id, err = emulation.Dial(c.lab.CloudSocket()).RenewImage(ctx, name)
	if err != nil {
		return "", fmt.Errorf("cannot renew the image %s: %w", name, err)
	}
	return id, c.lab.Expect("images", project.Shown(name, id))
}

// Kill implements inside.
func (g emulatedGuests) Kill(ctx context.Context, name string) error {
	return g.control.Kill(ctx, name)
}

// Read implements inside.
func (g emulatedGuests) Read(ctx context.Context, name, path string) (io.ReadCloser, error) {
	content, there, err := g.control.ReadFile(ctx, name, path)
	if err == nil && !there {
		err = errors.New("there is no such file")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in %s: %w", path, name, err)
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

// Exchange implements inside.
func (g emulatedGuests) Exchange(ctx context.Context, name string) (exchange, error) {
	return emulatedFolder{g.control, name}, nil
}

// emulatedFolder is the exchange folder of a server of the emulation.
type emulatedFolder struct {
	control emulation.Control
	server  string
}

func (f emulatedFolder) Has(ctx context.Context, file string) (bool, error) {
	_, there, err := f.control.ReadFile(ctx, f.server, cloudinit.ExchangeDir+"/"+file)
	return there, err
}

func (f emulatedFolder) Leave(ctx context.Context, file, content string) error {
	return f.control.LeaveFile(ctx, f.server, file, content)
}
