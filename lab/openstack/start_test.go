package openstack

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/sirupsen/logrus"

	"github-runner/lab/faults"
	"github-runner/lab/pipe"
)

// cloud is an emulation that serves, and its clients.
type cloud struct {
	*Server
	t    *testing.T
	http *http.Client
}

// inCloud runs a test in a bubble of time with a cloud that serves.
func inCloud(t *testing.T, options Options, test func(t *testing.T, c *cloud)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := pipe.NewNetwork()
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		options.Open, options.Address, options.Log = m.Listen, "127.0.0.1:5000", logrus.NewEntry(quiet)
		if options.Timing == (Timing{}) {
			options.Timing = Quick()
		}
		s, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- s.Serve(ctx, func() { close(ready) }) }()
		<-ready
		transport := &http.Transport{DialContext: m.Dial}
		defer func() {
			transport.CloseIdleConnections()
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the cloud ends with %v", err)
			}
		}()
		test(t, &cloud{Server: s, t: t, http: &http.Client{Transport: transport}})
	})
}

// login returns an authenticated client by a clouds.yaml.
func (c *cloud) login(yaml string) (*gophercloud.ProviderClient, error) {
	c.t.Helper()
	options, _, _, err := clouds.Parse(clouds.WithCloudsYAML(strings.NewReader(yaml)), clouds.WithCloudName("lab"))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.loginBy(options)
}

func (c *cloud) loginBy(options gophercloud.AuthOptions) (*gophercloud.ProviderClient, error) {
	c.t.Helper()
	options.AllowReauth = true
	provider, err := openstack.NewClient(options.IdentityEndpoint)
	if err != nil {
		c.t.Fatal(err)
	}
	provider.HTTPClient = *c.http
	return provider, openstack.Authenticate(c.t.Context(), provider, options)
}

// clients are those of one project.
type clients struct {
	compute, network, image *gophercloud.ServiceClient
}

// clients logs the first user of a project in.
func (c *cloud) clients(project string) clients {
	c.t.Helper()
	yaml := strings.Replace(c.CloudsYAML(project, project), "  "+project+":", "  lab:", 1)
	provider, err := c.login(yaml)
	if err != nil {
		c.t.Fatal(err)
	}
	return clientsOf(c.t, provider)
}

func clientsOf(t *testing.T, provider *gophercloud.ProviderClient) (all clients) {
	t.Helper()
	where := gophercloud.EndpointOpts{Region: "RegionOne", Availability: gophercloud.AvailabilityPublic}
	var errs [3]error
	all.compute, errs[0] = openstack.NewComputeV2(provider, where)
	all.network, errs[1] = openstack.NewNetworkV2(provider, where)
	all.image, errs[2] = openstack.NewImageV2(provider, where)
	must(t, errors.Join(errs[:]...))
	all.compute.Microversion = "2.90"
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fault puts a fault into force.
func (c *cloud) fault(f faults.Fault) {
	c.t.Helper()
	_, err := c.AddFault(f)
	must(c.t, err)
}

// runner is what a charm would order, but for what a test changes.
func (c *cloud) runner(all clients, name string) servers.CreateOpts {
	c.t.Helper()
	ctx := c.t.Context()
	pages, err := networks.List(all.network, networks.ListOpts{Name: "lab"}).AllPages(ctx)
	must(c.t, err)
	found, err := networks.ExtractNetworks(pages)
	must(c.t, err)
	sizes, err := flavors.ListDetail(all.compute, nil).AllPages(ctx)
	must(c.t, err)
	flavor, err := flavors.ExtractFlavors(sizes)
	must(c.t, err)
	imagePages, err := images.List(all.image, images.ListOpts{Name: "noble"}).AllPages(ctx)
	must(c.t, err)
	image, err := images.ExtractImages(imagePages)
	must(c.t, err)
	if len(found) != 1 || len(image) != 1 || len(flavor) != 4 {
		c.t.Fatalf("networks %v, images %v, flavors %v", found, image, flavor)
	}
	drive := true
	return servers.CreateOpts{
		Name: name, ImageRef: image[0].ID, FlavorRef: flavor[1].ID, ConfigDrive: &drive,
		Networks: []servers.Network{{UUID: found[0].ID}}, UserData: []byte("#cloud-config\n{}\n"),
		Metadata: map[string]string{"unit": "github-runner/0"}, SecurityGroups: []string{"default"},
	}
}

// create makes a server and waits for it.
func (c *cloud) create(all clients, opts servers.CreateOpts) *servers.Server {
	c.t.Helper()
	made, err := servers.Create(c.t.Context(), all.compute, opts, nil).Extract()
	must(c.t, err)
	time.Sleep(c.options.Timing.Build) // in the bubble
	synctest.Wait()
	return c.get(all, made.ID)
}

func (c *cloud) get(all clients, id string) *servers.Server {
	c.t.Helper()
	v, err := servers.Get(c.t.Context(), all.compute, id).Extract()
	must(c.t, err)
	return v
}

// list is the names of a project's servers, by a query.
func (c *cloud) list(all clients, opts servers.ListOpts) ([]servers.Server, error) {
	c.t.Helper()
	pages, err := servers.List(all.compute, opts).AllPages(c.t.Context())
	if err != nil {
		return nil, err
	}
	return servers.ExtractServers(pages)
}

// refused checks that an error is a refusal with a status, whose body has a text.
func refused(t *testing.T, err error, status int, body string) {
	t.Helper()
	var answer gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &answer) {
		t.Errorf("got %v, want a refusal with %d %s", err, status, body)
		return
	}
	if answer.Actual != status || !strings.Contains(string(answer.Body), body) {
		t.Errorf("refused with %d %s, want %d %s", answer.Actual, answer.Body, status, body)
	}
}
