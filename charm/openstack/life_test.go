package openstack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"golang.org/x/sync/errgroup"

	"github-runner/charm/runner"
	"github-runner/lab/openstack"
)

var (
	_ runner.Cloud     = (*Cloud)(nil)
	_ runner.Inspector = (*Cloud)(nil)
)

func TestLifeOfAServer(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		template := u.prepare(1)
		birth := u.birth()
		must(y.T, u.Create(ctx, template, birth))
		wanted := runner.Instance{
			Name: birth.Name, Status: runner.StatusCreating, Scope: home, RunnerID: 7, Created: time.Now().UTC(), Hash: template.Hash, Working: runner.WorkingNo,
		}
		if diff := cmp.Diff(wanted, u.one()); diff != "" {
			t.Errorf("a new one (-want +got):\n%s", diff)
		}
		y.built()
		wanted.Status, wanted.Working = runner.StatusRunning, runner.WorkingUnknown
		if diff := cmp.Diff(wanted, u.one()); diff != "" {
			t.Errorf("one that runs (-want +got):\n%s", diff)
		}
		must(y.T, servers.Stop(ctx, u.services().compute, u.id(birth.Name)).ExtractErr())
		y.wait(y.timing.Power)
		if got := u.one(); got.Status != runner.StatusStopped || got.Working != runner.WorkingNo {
			t.Errorf("one that is off: %+v", got)
		}
		must(y.T, u.Delete(ctx, birth.Name))
		if got := u.one(); got.Status != runner.StatusDeleting {
			t.Errorf("one that is deleted: %+v", got)
		}
		must(y.T, u.Delete(ctx, birth.Name)) // again at once
		y.wait(y.timing.Delete)
		must(y.T, u.Delete(ctx, birth.Name))
		must(y.T, u.Destroy(ctx))
		y.nothingLeft(u)
	})
}

// id is the ID of a server by its name.
func (u *unit) id(name string) string {
	u.yard.Helper()
	found, err := u.services().named(u.yard.Context(), name)
	must(u.yard.T, err)
	if len(found) != 1 {
		u.yard.Fatalf("there are the servers %+v", found)
	}
	return found[0].ID
}

// nothingLeft checks that the project has what it had before a unit came.
func (y *yard) nothingLeft(u *unit) {
	y.Helper()
	ctx, in := y.Context(), u.services()
	if all, err := in.list(ctx, ""); err != nil || len(all) != 1 || all[0].Name != "bastion" {
		y.Errorf("the servers %+v are left, %v", all, err)
	}
	if all, err := in.portsOf(ctx, ""); err != nil || len(all) != 1 {
		y.Errorf("the ports %+v are left, %v", all, err)
	}
	if left := u.allGroups(); len(left) != 1 {
		y.Errorf("the security groups %+v are left", left)
	}
}

func TestServersAreMadeFromTheTemplate(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		name := u.create()
		made, err := servers.Get(y.Context(), u.services().compute, u.id(name)).Extract()
		must(y.T, err)
		y.built()
		if made.Flavor["original_name"] != "m1.small" || !made.ConfigDrive || made.KeyName != "" || fmt.Sprint(made.SecurityGroups) != "[map[name:"+mine.Prefix()+"]]" {
			t.Errorf("the server is %+v", made)
		}
		wanted := map[string]string{
			"github-runner.model-uuid": mine.ModelUUID, "github-runner.unit": "app/1", "github-runner.api": home.API, "github-runner.path": home.Path,
			"github-runner.runner-id": "7", "github-runner.created": made.Metadata["github-runner.created"], "github-runner.hash": u.prepare(1).Hash,
		}
		if diff := cmp.Diff(wanted, made.Metadata); diff != "" {
			t.Errorf("its metadata (-want +got):\n%s", diff)
		}
	})
}

func TestSteadyStateCostsOneListOfServers(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		u.create()
		u.calls.take()
		u.prepare(1)
		u.list()
		wanted := []string{
			"GET /compute/v2.1/flavors/detail", "GET /image/v2/images", "GET /image/v2/images", "GET /network/v2.0/networks", "GET /network/v2.0/security-groups",
			"GET /compute/v2.1/servers/detail",
		}
		if diff := cmp.Diff(wanted, u.calls.take()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// Each page is one call, whatever the number of servers.
func TestListReadsAllPages(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		in := u.services()
		on, err := u.find(ctx, in)
		must(t, err)
		const count = 1001
		for range count {
			must(t, servers.Create(ctx, in.compute, servers.CreateOpts{
				Name: mine.NewName(), FlavorRef: on.flavor, ImageRef: on.image, Networks: []servers.Network{{UUID: on.network}},
				Metadata: u.config.Owner.Marks(runner.Template{}, u.birth(), time.Now()),
			}, nil).Err)
		}
		u.calls.take()
		if got := len(u.list()); got != count {
			t.Errorf("it lists %d", got)
		}
		if got := u.calls.count(""); got != 2 {
			t.Errorf("it takes %d calls", got)
		}
	})
}

// The figure to reach: 100 creates are issued within 15 s, with one token.
func TestManyCreates(t *testing.T) {
	timing := openstack.Quick()
	timing.Call = 50 * time.Millisecond
	inYard(t, openstack.Options{Timing: timing}, func(y *yard) {
		u := y.unit(mine)
		began := time.Now()
		template := u.prepare(100)
		var creates errgroup.Group
		creates.SetLimit(30)
		for range 100 {
			creates.Go(func() error { return u.Create(y.Context(), template, u.birth()) })
		}
		must(y.T, creates.Wait())
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("they take %v", took)
		}
		if n := u.calls.count("POST /identity"); n != 1 {
			t.Errorf("they take %d tokens", n)
		}
		// The token, three versions, what the options name, and the security group.
		if n := u.calls.count("") - u.calls.count("POST /compute/v2.1/servers"); n != 1+3+4+3 {
			t.Errorf("they take %d calls more: %v", n, u.calls.take())
		}
	})
}

// Several models, and units with names that begin alike, share one project.
func TestOthersAreLeftAlone(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, other, tenth := y.unit(mine), y.unit(theirs), y.unit(ten)
		neighbours := []string{other.create(), tenth.create()}
		y.built()
		if all := u.list(); len(all) != 0 {
			t.Errorf("it lists %+v", all)
		}
		for _, name := range neighbours {
			if err := u.Delete(y.Context(), name); err == nil || !strings.Contains(err.Error(), "not one of unit app/1") {
				t.Errorf("deleting %s: %v", name, err)
			}
		}
		u.create()
		y.built()
		if err := u.Destroy(y.Context()); err == nil {
			t.Error("a unit with a server is destroyed")
		}
		must(y.T, u.Delete(y.Context(), u.one().Name))
		y.wait(y.timing.Delete)
		must(y.T, u.Destroy(y.Context()))
		for _, neighbour := range []*unit{other, tenth} {
			if got := neighbour.one(); got.Status != runner.StatusRunning {
				t.Errorf("the neighbour has %+v", got)
			}
			if left := neighbour.ourGroups(); len(left) != 1 {
				t.Errorf("the neighbour has the security groups %+v", left)
			}
		}
	})
}

// What somebody made under a name of ours is shown, and never touched.
func TestForeignServers(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		u.prepare(1)
		in := u.services()
		on, err := u.find(ctx, in)
		must(y.T, err)
		named := mine.NewName()
		shaped := "app-1-" + strings.Repeat("0", 12)
		for name, metadata := range map[string]map[string]string{
			named:            nil,
			shaped:           {"kind": "database"},
			"app-1-database": nil,
			"App-1-000000000000": {
				runner.MarkModel: mine.ModelUUID, runner.MarkUnit: mine.Unit,
			},
		} {
			must(y.T, servers.Create(ctx, in.compute, servers.CreateOpts{
				Name: name, FlavorRef: on.flavor, ImageRef: on.image, Networks: []servers.Network{{UUID: on.network}}, Metadata: metadata,
			}, nil).Err)
		}
		y.built()
		var names []string
		for _, one := range u.list() {
			if !one.Foreign {
				t.Errorf("%s is taken for ours", one.Name)
			}
			names = append(names, one.Name)
		}
		wanted := []string{shaped, named}
		if shaped > named {
			wanted = []string{named, shaped}
		}
		if diff := cmp.Diff(wanted, names); diff != "" {
			t.Errorf("foreign ones (-want +got):\n%s", diff)
		}
		if err := u.Delete(ctx, named); err == nil || !strings.Contains(err.Error(), "somebody else made it") {
			t.Errorf("deleting it: %v", err)
		}
		must(y.T, u.Destroy(ctx))
		if left, err := in.list(ctx, ""); err != nil || len(left) != 5 {
			t.Errorf("there are %+v, %v", left, err)
		}
	})
}
