package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	client "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"

	"github-runner/charm/cloudinit"
	"github-runner/charm/guest"
	"github-runner/charm/secret"
	"github-runner/lab/openstack"
)

// guestLab is a lab with an emulated OpenStack, in which a unit with keys has a runner.
type guestLab struct {
	dir     string
	keys    guest.Keys
	address netip.Addr
}

func newGuestLab(t *testing.T) guestLab {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab") // the path of a socket is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cloud, err := openstack.New(openstack.Options{Dir: dir, Timing: openstack.Quick()})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- cloud.Serve(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the cloud ends with %v", err)
		}
	})
	<-ready
	keys, err := guest.LoadKeys(filepath.Join(dir, "guest-secret"))
	must(t, err)
	private, public, err := keys.HostKey("runner-1")
	must(t, err)
	data, err := cloudinit.UserData(cloudinit.Machine{
		Name: "runner-1", JIT: secret.New("jit"), PowerOffDelay: time.Hour,
		SSH: &cloudinit.SSH{AuthorizedKey: keys.AuthorizedKey(), HostKey: private, HostPublicKey: public},
	})
	must(t, err)
	return guestLab{dir: dir, keys: keys, address: newServer(t, cloud, data)}
}

// newServer makes a server that SSH is let in to, waits until it is up, and returns its
// address.
func newServer(t *testing.T, cloud *openstack.Server, data []byte) netip.Addr {
	t.Helper()
	ctx := t.Context()
	options, _, _, err := clouds.Parse(clouds.WithCloudsYAML(strings.NewReader(cloud.CloudsYAML("lab", "lab"))), clouds.WithCloudName("lab"))
	must(t, err)
	provider, err := client.AuthenticatedClient(ctx, options)
	must(t, err)
	where := gophercloud.EndpointOpts{Region: "RegionOne"}
	compute, err := client.NewComputeV2(provider, where)
	must(t, err)
	network, err := client.NewNetworkV2(provider, where)
	must(t, err)
	glance, err := client.NewImageV2(provider, where)
	must(t, err)
	group, err := groups.Create(ctx, network, groups.CreateOpts{Name: "ssh"}).Extract()
	must(t, err)
	_, err = rules.Create(ctx, network, rules.CreateOpts{
		SecGroupID: group.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP, PortRangeMin: 22, PortRangeMax: 22,
	}).Extract()
	must(t, err)
	pages, err := images.List(glance, images.ListOpts{Name: "noble"}).AllPages(ctx)
	must(t, err)
	found, err := images.ExtractImages(pages)
	must(t, err)
	compute.Microversion = "2.90"
	made, err := servers.Create(ctx, compute, servers.CreateOpts{
		Name: "runner-1", FlavorRef: "2", ImageRef: found[0].ID, Networks: "auto", UserData: data, SecurityGroups: []string{"ssh"},
	}, nil).Extract()
	must(t, err)
	// The emulation is at real sockets, which no bubble of fake time sees, and tells of
	// nothing.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		made, err = servers.Get(ctx, compute, made.ID).Extract()
		must(t, err)
		address, there := addressOf(made)
		if there && isUp(cloud, address) {
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server is %s, and nobody answers by SSH", made.Status)
		}
	}
}

func addressOf(made *servers.Server) (address netip.Addr, there bool) {
	for _, addresses := range made.Addresses {
		for _, one := range addresses.([]any) {
			return netip.MustParseAddr(one.(map[string]any)["addr"].(string)), true
		}
	}
	return netip.Addr{}, false
}

func isUp(cloud *openstack.Server, address netip.Addr) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := cloud.DialGuest(ctx, address.String())
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// dial connects by the command.
func (l guestLab) dial(t *testing.T, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		env := environment{Stdin: far, Stdout: far, Stderr: io.Discard}
		if err := dispatch(t.Context(), env, []string{"--dir", l.dir, "ssh-guest", host}); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("ssh-guest: %v", err)
		}
	}()
	return near, nil
}

func TestSSHGuest(t *testing.T) {
	l := newGuestLab(t)
	unit := guest.Door{Keys: l.keys, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		return l.dial(t, address)
	}}
	path := cloudinit.ExchangeDir + "/" + cloudinit.RunCompletedFile
	// Without GitHub its application ends at once.
	must(t, unit.Await(t.Context(), "runner-1", l.address, path))
	left, err := unit.Read(t.Context(), "runner-1", l.address, []guest.File{{Path: path}})
	if _, there := left[path]; err != nil || !there {
		t.Errorf("read %q, %v", left, err)
	}
}

func TestSSHGuestThatIsNotThere(t *testing.T) {
	env := environment{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
	var usage usageError
	if err := dispatch(t.Context(), env, []string{"ssh-guest"}); !errors.As(err, &usage) {
		t.Errorf("without an address: %v", err)
	}
	err := dispatch(t.Context(), env, []string{"--dir", t.TempDir(), "ssh-guest", "10.20.0.5"})
	if err == nil || !strings.Contains(err.Error(), "cannot reach the emulated cloud's guests") {
		t.Errorf("without a lab: %v", err)
	}
	l := newGuestLab(t)
	err = dispatch(t.Context(), env, []string{"--dir", l.dir, "ssh-guest", "somewhere"})
	if err == nil || !strings.Contains(err.Error(), "cannot reach the guest at somewhere") {
		t.Errorf("at no address: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
