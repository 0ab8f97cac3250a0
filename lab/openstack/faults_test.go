package openstack

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"

	"github-runner/lab/faults"
)

func TestCallsThatFail(t *testing.T) {
	list := func(c *cloud, all clients) error {
		_, err := c.list(all, servers.ListOpts{})
		return err
	}
	tests := map[string]struct {
		fault  faults.Fault
		act    func(c *cloud, all clients) error
		status int
		want   string
	}{
		"nova":         {faults.Fault{Kind: CallFails, Name: "GET */servers/*"}, list, 500, `{"computeFault":{"code":500,"message":"Unexpected API Error.`},
		"with a text":  {faults.Fault{Kind: CallFails, Status: 409, Message: "It is locked."}, list, 409, `{"conflictingRequest":{"code":409,"message":"It is locked."}}`},
		"a balancer":   {faults.Fault{Kind: CallFails, Status: 503}, list, 503, "<html><body><h1>503 Service Unavailable</h1>"},
		"a quota":      {faults.Fault{Kind: QuotaExceeded}, create, 403, "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances"},
		"rate limited": {faults.Fault{Kind: RateLimited, For: 7 * time.Second}, list, 429, `{"overLimit":{"code":429,"message":"This request was rate-limited.","retryAfter":"7"}}`},
		"neutron": {faults.Fault{Kind: CallFails, Name: "* /network/*"}, func(c *cloud, all clients) error {
			return networks.Get(c.t.Context(), all.network, "x").Err
		}, 500, `"type":"HTTPInternalServerError"`},
		"glance": {faults.Fault{Kind: CallFails, Name: "* /image/*"}, func(c *cloud, all clients) error {
			return images.Get(c.t.Context(), all.image, "x").Err
		}, 500, `"title":"Internal Server Error"`},
		"keystone": {faults.Fault{Kind: CallFails, Name: "POST /identity/*"}, func(c *cloud, _ clients) error {
			_, err := c.login(c.CloudsYAML("lab", "lab"))
			return err
		}, 500, `{"error":{"code":500,"message":"An unexpected error prevented the server from fulfilling your request.","title":"Internal Server Error"}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				opts := c.runner(all, "runner")
				c.fault(test.fault)
				err := test.act(c, all)
				refused(t, err, test.status, test.want)
				var answer gophercloud.ErrUnexpectedResponseCode
				if errors.As(err, &answer) && answer.ResponseHeader.Get("X-Openstack-Request-Id") == "" {
					t.Error("the answer names no request")
				}
				if test.status == 429 && answer.ResponseHeader.Get("Retry-After") != "7" {
					t.Errorf("its header is %v", answer.ResponseHeader)
				}
				if n := c.ClearFaults(string(test.fault.Kind)); n != 1 {
					t.Errorf("%d faults are cleared", n)
				}
				if v := c.create(all, opts); v.Status != "ACTIVE" {
					t.Errorf("without the fault the server is %s", v.Status)
				}
			})
		})
	}
}

func create(c *cloud, all clients) error {
	return servers.Create(c.t.Context(), all.compute, c.runner(all, "runner"), nil).Err
}

// A fault that happens a number of times is over then.
func TestFaultsEndByTheirCount(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		c.fault(faults.Fault{Kind: CallFails, Name: "GET */servers/detail", Count: 2, Status: 502})
		for i := range 3 {
			_, err := c.list(all, servers.ListOpts{})
			if failed := err != nil; failed != (i < 2) {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if all := c.Faults(); len(all) != 1 || all[0].Hits != 2 {
			t.Errorf("the faults are %+v", all)
		}
	})
}

func TestAnswersThatAreLost(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		opts := c.runner(all, "runner")
		c.fault(faults.Fault{Kind: LostAnswer, Name: "POST */servers", Count: 1})
		err := servers.Create(t.Context(), all.compute, opts, nil).Err
		var answer gophercloud.ErrUnexpectedResponseCode
		if err == nil || errors.As(err, &answer) {
			t.Errorf("the answer arrives: %v", err)
		}
		if found, err := c.list(all, servers.ListOpts{Name: "runner"}); err != nil || len(found) != 1 {
			t.Errorf("there are %v, %v", found, err)
		}
	})
}

func TestAnswersThatAreLate(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		opts := c.runner(all, "runner")
		c.fault(faults.Fault{Kind: SlowAnswers, Name: "POST */servers", For: time.Minute})
		began := time.Now()
		must(t, servers.Create(t.Context(), all.compute, opts, nil).Err)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the answer takes %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := servers.Create(ctx, all.compute, opts, nil).Err; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an impatient client gets %v", err)
		}
		if found, err := c.list(all, servers.ListOpts{Name: "runner"}); err != nil || len(found) != 2 {
			t.Errorf("there are %v, %v", found, err)
		}
	})
}

func TestCallsTakeTheirTime(t *testing.T) {
	timing := Quick()
	timing.Call = 50 * time.Millisecond
	inCloud(t, Options{Timing: timing}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		began := time.Now()
		if _, err := c.list(all, servers.ListOpts{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != timing.Call {
			t.Errorf("a call takes %v", took)
		}
	})
}

// While the APIs are away nobody is let in; servers are built, and tokens stay good.
func TestRestart(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		opts := c.runner(all, "runner")
		made, err := servers.Create(t.Context(), all.compute, opts, nil).Extract()
		must(t, err)
		token := all.compute.Token()
		back := make(chan error, 1)
		go func() { back <- c.Restart(t.Context(), time.Minute) }()
		time.Sleep(time.Second) // of the bubble's fake clock
		if _, err := c.list(all, servers.ListOpts{}); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("while the cloud is away: %v", err)
		}
		must(t, <-back)
		if v := c.get(all, made.ID); v.Status != "ACTIVE" || all.compute.Token() != token {
			t.Errorf("after the restart the server is %s", v.Status)
		}
	})
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		for _, f := range []faults.Fault{{Kind: OddStatus}, {Kind: OddStatus, Message: "FINE"}, {Kind: "start-hangs"}} {
			if _, err := c.AddFault(f); err == nil {
				t.Errorf("%+v is taken", f)
			}
		}
	})
}

// On the machine's own sockets it works as in memory, and takes orders.
func TestServeOnTheMachine(t *testing.T) {
	dir, err := os.MkdirTemp("", "openstack") // a socket's path has to be short
	must(t, err)
	defer os.RemoveAll(dir)
	s, err := New(Options{Dir: dir, Timing: Quick()})
	must(t, err)
	if s.URL() != "" || s.CloudsYAML("lab", "lab") != "" {
		t.Error("it says where it is before it is there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Serve(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	c := &cloud{Server: s, t: t, http: http.DefaultClient}
	control := faults.Dial(s.ControlSocket())
	_, err = control.AddFault(ctx, faults.Fault{Kind: LoginFails, Count: 1})
	must(t, err)
	_, err = c.login(s.CloudsYAML("lab", "lab"))
	refused(t, err, http.StatusUnauthorized, "requires authentication")
	must(t, control.Restart(ctx, 0))
	// A POST on a connection that the restart ended is not tried again.
	c.http.CloseIdleConnections()
	provider, err := c.login(s.CloudsYAML("lab", "lab"))
	must(t, err)
	if _, err := openstack.NewComputeV2(provider, gophercloud.EndpointOpts{Region: region}); err != nil {
		t.Error(err)
	}
	cancel()
	must(t, <-ended)
}

// Behind TLS the catalog's addresses are those of TLS.
func TestHandlerBehindTLS(t *testing.T) {
	s, err := New(Options{Timing: Quick()})
	must(t, err)
	defer s.end()
	server := httptest.NewTLSServer(s.Handler())
	defer server.Close()
	c := &cloud{Server: s, t: t, http: server.Client()}
	provider, err := c.loginBy(gophercloud.AuthOptions{
		IdentityEndpoint: server.URL + identityPath, Username: "lab", Password: "lab-password", DomainName: "Default", TenantName: "lab",
	})
	must(t, err)
	all := clientsOf(t, provider)
	if all.compute.Endpoint != server.URL+computePath+"/v2.1/" {
		t.Errorf("Nova is at %s", all.compute.Endpoint)
	}
	if found, err := c.list(all, servers.ListOpts{}); err != nil || len(found) != 1 {
		t.Errorf("there are %v, %v", found, err)
	}
}

func TestWorldsThatCantBe(t *testing.T) {
	for want, change := range map[string]func(w *World){
		`the network "lab"`:              func(w *World) { w.Networks[0].CIDR = "10.20" },
		`has no user "eve"`:              func(w *World) { w.Projects[0].Credentials[0].User = "eve" },
		`there is no project "third"`:    func(w *World) { w.Images[0].Project = "third" },
		`the server "database"`:          func(w *World) { w.Servers[0].Project = "third" },
		`lacks a user, flavor, network `: func(w *World) { w.Flavors = nil },
	} {
		w := FirstWorld()
		change(&w)
		if _, err := New(Options{World: w}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
