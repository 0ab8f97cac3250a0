package openstack

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"

	"github-runner/charm/runner"
	"github-runner/lab/faults"
	"github-runner/lab/openstack"
)

func TestCreatesThatFail(t *testing.T) {
	const post = "POST */servers"
	tests := map[string]struct {
		fault faults.Fault
		kind  error
		words []string
		// made is set where the server is there in spite of the error.
		made bool
	}{
		"no room": {faults.Fault{Kind: openstack.QuotaExceeded}, runner.ErrQuota,
			[]string{"raise the quota of the OpenStack project", "Quota exceeded for instances: Requested 1"}, false},
		"forbidden": {faults.Fault{Kind: openstack.CallFails, Name: post, Status: 403, Message: "Policy doesn't allow it."}, runner.ErrForbidden,
			[]string{"let the user in openstack-clouds-yaml do", "Policy doesn't allow it."}, false},
		"refused": {faults.Fault{Kind: openstack.CallFails, Name: post, Status: 400, Message: "Flavor's disk is too small for requested image."}, runner.ErrInvalid,
			[]string{"openstack-flavor, openstack-image and openstack-network", "Flavor's disk is too small"}, false},
		"a broken Nova": {faults.Fault{Kind: openstack.CallFails, Name: post}, runner.ErrUnreachable,
			[]string{"cannot tell whether server", "it answers 500: Unexpected API Error."}, false},
		"a balancer": {faults.Fault{Kind: openstack.CallFails, Name: post, Status: 503}, runner.ErrUnreachable,
			[]string{"it answers 503: Service Unavailable"}, false},
		"a lost answer":  {faults.Fault{Kind: openstack.LostAnswer, Name: post}, runner.ErrUnreachable, []string{"cannot tell whether server", "EOF"}, true},
		"a late answer":  {faults.Fault{Kind: openstack.SlowAnswers, Name: post, For: time.Minute}, runner.ErrUnreachable, []string{"cannot tell whether server"}, true},
		"a token's end":  {faults.Fault{Kind: openstack.TokenRevoked, Name: post}, runner.ErrUnauthorized, []string{"set openstack-clouds-yaml with credentials that OpenStack takes"}, false},
		"no credentials": {faults.Fault{Kind: openstack.CallFails, Name: post, Status: 401}, runner.ErrUnauthorized, nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.unit(mine)
				template := u.prepare(1)
				y.fault(test.fault)
				birth := u.birth()
				began := time.Now()
				err := u.Create(y.Context(), template, birth)
				expect(t, err, test.kind, append(test.words, birth.Name)...)
				if took := time.Since(began); took > callDeadline {
					t.Errorf("it takes %v", took)
				}
				if made := len(u.list()) == 1; made != test.made {
					t.Errorf("the server is there: %v", made)
				}
				y.ClearFaults("")
				u.create()
			})
		})
	}
}

// What Nova refuses it quotes, user-data with credentials included.
func TestErrorsDoNotQuoteWhatWasSent(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		template := u.prepare(1)
		y.fault(faults.Fault{
			Kind: openstack.CallFails, Name: "POST */servers", Status: 400,
			Message: "Invalid input for field/attribute user_data. Value: " + strings.Repeat("c2VjcmV0", 9000) + ". 'c2VjcmV0' is too long",
		})
		err := u.Create(y.Context(), template, u.birth())
		expect(t, err, runner.ErrInvalid, "Invalid input for field/attribute user_data. (the value is not shown)")
		if strings.Contains(err.Error(), "c2VjcmV0") {
			t.Error("the error has what was sent")
		}
		y.ClearFaults("")
		y.fault(faults.Fault{Kind: openstack.CallFails, Status: 409, Message: strings.Repeat("long\n", 1000)})
		if _, err := u.List(y.Context()); err == nil || len(err.Error()) > 2*maxSaid || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestRateLimits(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		u.prepare(1)
		y.fault(faults.Fault{Kind: openstack.RateLimited, Name: "GET */servers/*", For: 7 * time.Second})
		_, err := u.List(y.Context())
		var limited runner.RateLimited
		if !errors.As(err, &limited) || time.Until(limited.Until) != 7*time.Second {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestRetryAt(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": time.Second, "0": time.Second, "-7": time.Second, "90": 90 * time.Second, "99999999999": 10 * time.Minute, "86400": 10 * time.Minute,
		"soon": time.Second, now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): time.Second,
	} {
		if got := retryAt(http.Header{"Retry-After": {text}}, now).Sub(now); got != want {
			t.Errorf("%q: after %v, want %v", text, got, want)
		}
	}
}

// A token that ends is followed by one new one, whoever notices.
func TestTokensEnd(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		u.create()
		u.calls.take()
		y.wait(2 * time.Hour)
		failed := make(chan error)
		for range 20 {
			go func() {
				_, err := u.List(y.Context())
				failed <- err
			}()
		}
		for range 20 {
			must(t, <-failed)
		}
		if n := u.calls.count("POST /identity"); n != 1 {
			t.Errorf("they take %d tokens", n)
		}
		y.wait(2 * time.Hour)
		u.calls.take()
		y.fault(faults.Fault{Kind: openstack.LoginFails})
		_, err := u.List(y.Context())
		expect(t, err, runner.ErrUnauthorized, "set openstack-clouds-yaml with credentials")
		if n := u.calls.count("POST /identity"); n != 1 {
			t.Errorf("it asks for %d tokens", n)
		}
		y.ClearFaults("")
		u.one()
	})
}

// Who gives up does not call off the login that others wait for.
func TestLoginIsNotCalledOffByOne(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		u.create()
		y.wait(2 * time.Hour)
		y.fault(faults.Fault{Kind: openstack.SlowAnswers, Name: "POST /identity/*", For: 10 * time.Second})
		impatient, cancel := context.WithTimeout(y.Context(), time.Second)
		defer cancel()
		first := make(chan error)
		go func() {
			_, err := u.List(impatient)
			first <- err
		}()
		y.wait(time.Second / 2)
		if _, err := u.List(y.Context()); err != nil {
			t.Error(err)
		}
		if err := <-first; err == nil {
			t.Error("the impatient one has an answer")
		}
	})
}

// While OpenStack is away, and after it, nothing is lost.
func TestOpenStackAway(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		name := u.create()
		back := make(chan error)
		go func() { back <- y.Restart(y.Context(), time.Minute) }()
		y.wait(time.Second)
		_, err := u.List(y.Context())
		expect(t, err, runner.ErrUnreachable, "connection refused")
		expect(t, u.Delete(y.Context(), name), runner.ErrUnreachable)
		_, err = u.Prepare(y.Context(), want(1))
		expect(t, err, runner.ErrUnreachable)
		other := y.unit(theirs)
		_, err = other.Prepare(y.Context(), want(1))
		expect(t, err, runner.ErrUnreachable, "cannot log in to OpenStack at http://cloud:5000/identity/v3")
		must(t, <-back)
		if got := u.one(); got.Name != name {
			t.Errorf("there is %+v", got)
		}
		other.create()
	})
}

func TestServersThatAreNotBuilt(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		y.fault(faults.Fault{Kind: openstack.NoValidHost, Count: 1})
		name := u.create()
		y.built()
		if got := u.one(); got.Status != runner.StatusError || got.Fault != "No valid host was found." || got.Working != runner.WorkingNo {
			t.Errorf("there is %+v", got)
		}
		remains, err := u.Collect(y.Context(), name, t.TempDir())
		if err != nil || remains.LastLines != "No valid host was found." {
			t.Errorf("it left %+v, %v", remains, err)
		}
		must(t, u.Delete(y.Context(), name))
		y.wait(y.timing.Delete)

		y.fault(faults.Fault{Kind: openstack.BuildHangs, Count: 1})
		name = u.create()
		y.wait(time.Hour)
		if got := u.one(); got.Status != runner.StatusCreating {
			t.Errorf("there is %+v", got)
		}
		must(t, u.Delete(y.Context(), name))
		y.wait(y.timing.Delete)
		must(t, u.Destroy(y.Context()))
		y.nothingLeft(u)
	})
}

func TestServersThatVanish(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		name := u.create()
		y.built()
		y.fault(faults.Fault{Kind: openstack.Vanishes, Name: name})
		if all := u.list(); len(all) != 0 {
			t.Errorf("there are %+v", all)
		}
		must(t, u.Delete(y.Context(), name))
		if remains, err := u.Collect(y.Context(), name, t.TempDir()); err != nil || remains.LastLines != "" {
			t.Errorf("it left %+v, %v", remains, err)
		}
		must(t, u.PreJobDone(y.Context(), name))
	})
}

// A word that is not known is no reason to lose a job.
func TestStatuses(t *testing.T) {
	tests := map[string]struct {
		status  runner.Status
		working runner.Working
	}{
		"REBUILD": {runner.StatusCreating, runner.WorkingNo}, "PAUSED": {runner.StatusRunning, runner.WorkingUnknown},
		"SUSPENDED": {runner.StatusRunning, runner.WorkingUnknown}, "UNKNOWN": {runner.StatusRunning, runner.WorkingUnknown},
		"HARD_REBOOT": {runner.StatusRunning, runner.WorkingUnknown}, "MIGRATING": {runner.StatusRunning, runner.WorkingUnknown},
		"SHELVED_OFFLOADED": {runner.StatusRunning, runner.WorkingUnknown}, "SOFT_DELETED": {runner.StatusDeleting, runner.WorkingNo},
	}
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		u.create()
		y.built()
		for word, test := range tests {
			y.fault(faults.Fault{Kind: openstack.OddStatus, Message: word})
			if got := u.one(); got.Status != test.status || got.Working != test.working {
				t.Errorf("%s: %+v", word, got)
			}
			y.ClearFaults("")
		}
		y.fault(faults.Fault{Kind: openstack.OddStatus, Message: "DELETED"})
		if all := u.list(); len(all) != 0 {
			t.Errorf("there are %+v", all)
		}
	})
	runs := server{Status: "ERROR", Power: powerRunning}
	if got := status(runs); got != runner.StatusRunning {
		t.Errorf("one that runs, and that an administrator called broken, is %s", got)
	}
	runs.Fault.Message = "Failed to terminate"
	if got := status(runs); got != runner.StatusError {
		t.Errorf("one that could not be ended is %s", got)
	}
	if got := status(server{Status: "SHUTOFF", TaskState: "powering-on"}); got != runner.StatusRunning {
		t.Errorf("one that is switched on is %s", got)
	}
}

func TestDeletesThatGoWrong(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		name := u.create()
		y.built()
		y.fault(faults.Fault{Kind: openstack.CallFails, Name: "DELETE */servers/*", Status: 409, Message: "Instance is locked"})
		err := u.Delete(ctx, name)
		var trouble runner.Trouble
		if !errors.As(err, &trouble) || trouble.Advice != "unlock the server: openstack server unlock "+u.id(name) || !strings.Contains(err.Error(), "Instance is locked") {
			t.Errorf("a locked one: %v", err)
		}
		y.ClearFaults("")
		y.fault(faults.Fault{Kind: openstack.LostAnswer, Name: "DELETE */servers/*", Count: 1})
		expect(t, u.Delete(ctx, name), runner.ErrUnreachable, "cannot delete server "+name)
		must(t, u.Delete(ctx, name))
		y.wait(y.timing.Delete)
		y.ClearFaults("")

		name = u.create()
		y.built()
		y.fault(faults.Fault{Kind: openstack.DeleteFails, Count: 1})
		must(t, u.Delete(ctx, name))
		y.wait(y.timing.Delete)
		if got := u.one(); got.Status != runner.StatusError || !strings.HasPrefix(got.Fault, "Failed to terminate process") {
			t.Errorf("one that could not be ended: %+v", got)
		}
		must(t, u.Delete(ctx, name))
		y.wait(y.timing.Delete)

		name = u.create()
		y.built()
		y.fault(faults.Fault{Kind: openstack.DeleteHangs, For: 30 * time.Second, Count: 1})
		must(t, u.Delete(ctx, name))
		y.wait(10 * time.Second)
		if got := u.one(); got.Status != runner.StatusDeleting {
			t.Errorf("one that takes its time: %+v", got)
		}
		must(t, u.Destroy(ctx)) // waits for it
		y.nothingLeft(u)
	})
}

// Destroy does not wait for ever.
func TestDestroyGivesUp(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		name := u.create()
		y.built()
		y.fault(faults.Fault{Kind: openstack.DeleteHangs})
		must(t, u.Delete(y.Context(), name))
		began := time.Now()
		expect(t, u.Destroy(y.Context()), runner.ErrBusy, "OpenStack has not finished with the servers that were deleted")
		if took := time.Since(began); took != workDeadline {
			t.Errorf("it takes %v", took)
		}
	})
}

// Where Neutron fails, Nova leaves ports; nobody but us would remove them.
func TestPortsAndFloatingAddressesGo(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		name := u.create()
		y.built()
		in := u.services()
		pages, err := networks.List(in.network, networks.ListOpts{Name: "ext"}).AllPages(ctx)
		must(t, err)
		outside, err := networks.ExtractNetworks(pages)
		must(t, err)
		its, err := in.portsOf(ctx, u.id(name))
		must(t, err)
		for _, options := range []floatingips.CreateOpts{{PortID: its[0].ID}, {}} {
			options.FloatingNetworkID = outside[0].ID
			must(t, floatingips.Create(ctx, in.network, options).Err)
		}
		y.fault(faults.Fault{Kind: openstack.PortLeft})
		must(t, u.Delete(ctx, name))
		y.wait(y.timing.Delete)
		left, err := floatingips.List(in.network, nil).AllPages(ctx)
		must(t, err)
		if addresses, err := floatingips.ExtractFloatingIPs(left); err != nil || len(addresses) != 1 || addresses[0].PortID != "" {
			t.Errorf("the floating addresses %+v are left, %v", addresses, err)
		}
		// One that was deleted by somebody else left its port, too.
		name = u.create()
		y.built()
		must(t, servers.Delete(ctx, in.compute, u.id(name)).ExtractErr())
		y.wait(y.timing.Delete)
		must(t, u.Destroy(ctx))
		y.nothingLeft(u)
	})
}
