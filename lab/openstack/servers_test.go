package openstack

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github-runner/lab/faults"
)

func TestLifeOfAServer(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all, ctx := c.clients("lab"), t.Context()
		opts := c.runner(all, "runner-1")
		opts.Tags = []string{"idle"}
		made, err := servers.Create(ctx, all.compute, opts, nil).Extract()
		must(t, err)
		if made.Name != "" || made.AdminPass == "" || len(made.SecurityGroups) != 1 {
			t.Errorf("the answer to a POST is %+v", made)
		}
		var states []string
		for range 4 {
			v := c.get(all, made.ID)
			states = append(states, fmt.Sprintf("%s %s %s %d", v.Status, v.VmState, v.TaskState, len(v.Addresses)))
			time.Sleep(c.options.Timing.Build / 3) // of the bubble's fake clock
			synctest.Wait()
		}
		want := []string{"BUILD building scheduling 0", "BUILD building networking 0", "BUILD building spawning 1", "ACTIVE active  1"}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		v := c.get(all, made.ID)
		if v.Name != "runner-1" || v.Metadata["unit"] != "github-runner/0" || !v.ConfigDrive || v.LaunchedAt.IsZero() || v.PowerState != servers.RUNNING ||
			v.Flavor["original_name"] != "m1.small" || v.Image["id"] != opts.ImageRef || (*v.Tags)[0] != "idle" || *v.Hostname != "runner-1" || v.Userdata != nil {
			t.Errorf("the server is %+v", v)
		}
		for _, power := range []struct {
			do   func() error
			task string
			then string
		}{
			{func() error { return servers.Stop(ctx, all.compute, v.ID).ExtractErr() }, "powering-off", "SHUTOFF"},
			{func() error { return servers.Start(ctx, all.compute, v.ID).ExtractErr() }, "powering-on", "ACTIVE"},
		} {
			must(t, power.do())
			if got := c.get(all, v.ID).TaskState; got != power.task {
				t.Errorf("the task is %q, want %q", got, power.task)
			}
			refused(t, power.do(), http.StatusConflict, "while it is in task_state "+power.task)
			time.Sleep(c.options.Timing.Power) // of the bubble's fake clock
			synctest.Wait()
			if got := c.get(all, v.ID).Status; got != power.then {
				t.Errorf("the status is %s, want %s", got, power.then)
			}
		}
		refused(t, servers.Start(ctx, all.compute, v.ID).ExtractErr(), http.StatusConflict, "Cannot 'start' instance "+v.ID+" while it is in vm_state active")
		merged, err := servers.UpdateMetadata(ctx, all.compute, v.ID, servers.MetadataOpts{"more": "x"}).Extract()
		if err != nil || merged["more"] != "x" || merged["unit"] != "github-runner/0" {
			t.Errorf("the metadata is %v, %v", merged, err)
		}
		must(t, servers.Delete(ctx, all.compute, v.ID).ExtractErr())
		must(t, servers.Delete(ctx, all.compute, v.ID).ExtractErr()) // again at once
		if v := c.get(all, v.ID); v.Status != "ACTIVE" || v.TaskState != "deleting" {
			t.Errorf("while it is deleted the server is %s %s", v.Status, v.TaskState)
		}
		time.Sleep(c.options.Timing.Delete) // of the bubble's fake clock
		synctest.Wait()
		refused(t, servers.Delete(ctx, all.compute, v.ID).ExtractErr(), http.StatusNotFound,
			`{"itemNotFound":{"code":404,"message":"Instance `+v.ID+` could not be found."}}`)
		if left := c.ports(all); len(left) != 1 {
			t.Errorf("ports are left: %v", left) // one is the bastion's
		}
	})
}

func (c *cloud) ports(all clients) []ports.Port {
	c.t.Helper()
	pages, err := ports.List(all.network, nil).AllPages(c.t.Context())
	must(c.t, err)
	found, err := ports.ExtractPorts(pages)
	must(c.t, err)
	return found
}

func TestServersOfOthers(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		mine, theirs := c.clients("lab"), c.clients("other")
		found, err := c.list(theirs, servers.ListOpts{})
		if err != nil || len(found) != 1 || found[0].Name != "database" {
			t.Fatalf("the others have %v, %v", found, err)
		}
		refused(t, servers.Get(t.Context(), mine.compute, found[0].ID).Err, http.StatusNotFound, "could not be found")
		refused(t, servers.Delete(t.Context(), mine.compute, found[0].ID).ExtractErr(), http.StatusNotFound, "could not be found")
		_, err = c.list(mine, servers.ListOpts{AllTenants: true})
		refused(t, err, http.StatusForbidden, "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.")
	})
}

func TestServersThatAreRefused(t *testing.T) {
	long, nowhere := strings.Repeat("x", 256), newUUID()
	tests := map[string]struct {
		change func(o *servers.CreateOpts)
		status int
		want   string
	}{
		"a long name":        {func(o *servers.CreateOpts) { o.Name = long }, 400, "Invalid input for field/attribute name. Value: " + long + ". '" + long + "' is too long"},
		"too much user-data": {func(o *servers.CreateOpts) { o.UserData = []byte("#" + strings.Repeat(" ", 49149)) }, 400, "Invalid input for field/attribute user_data. Value: "},
		"a long value":       {func(o *servers.CreateOpts) { o.Metadata["unit"] = long }, 400, "Invalid input for field/attribute unit. Value: "},
		"an odd key":         {func(o *servers.CreateOpts) { o.Metadata["a/b"] = "c" }, 400, "'a/b' does not match any of the regexes"},
		"many items":         {func(o *servers.CreateOpts) { o.Metadata = numbered(129) }, 403, "Maximum number of metadata items exceeds 128"},
		"no such flavor":     {func(o *servers.CreateOpts) { o.FlavorRef = "m1.small" }, 400, "Invalid flavorRef provided."},
		"no image":           {func(o *servers.CreateOpts) { o.ImageRef = "" }, 400, "Invalid imageRef provided."},
		"an image's name":    {func(o *servers.CreateOpts) { o.ImageRef = "noble" }, 400, "'noble' is not valid under any of the given schemas"},
		"no such image":      {func(o *servers.CreateOpts) { o.ImageRef = newUUID() }, 400, "Can not find requested image"},
		"a network's name":   {func(o *servers.CreateOpts) { o.Networks = []servers.Network{{UUID: "lab"}} }, 400, "'lab' is not a 'uuid'"},
		"no such network":    {func(o *servers.CreateOpts) { o.Networks = []servers.Network{{UUID: nowhere}} }, 400, "Network " + nowhere + " could not be found."},
		"no network":         {func(o *servers.CreateOpts) { o.Networks = nil }, 400, "'networks' is a required property"},
		"an address":         {func(o *servers.CreateOpts) { o.Networks = []servers.Network{{UUID: nowhere, FixedIP: "10.20.0.9"}} }, 501, "the emulated cloud has no choosing of ports"},
		"no such group":      {func(o *servers.CreateOpts) { o.SecurityGroups = []string{"runners"} }, 400, "Unable to find security_group with name or id 'runners'"},
		"no such zone":       {func(o *servers.CreateOpts) { o.AvailabilityZone = "moon" }, 400, "The requested availability zone is not available"},
		"several at once":    {func(o *servers.CreateOpts) { o.Min = 2 }, 501, "the emulated cloud has no creating of several servers at once"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				opts := c.runner(all, "runner-1")
				test.change(&opts)
				refused(t, servers.Create(t.Context(), all.compute, opts, nil).Err, test.status, test.want)
				if found, err := c.list(all, servers.ListOpts{}); err != nil || len(found) != 1 {
					t.Errorf("there are %v, %v", found, err)
				}
			})
		})
	}
}

// numbered is metadata with so many items.
func numbered(count int) map[string]string {
	all := make(map[string]string)
	for i := range count {
		all[fmt.Sprint(i)] = ""
	}
	return all
}

func TestUserDataUpToTheBound(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		opts := c.runner(all, "runner-1")
		opts.UserData = []byte("#" + strings.Repeat(" ", 49148))
		v := c.create(all, opts)
		c.mu.Lock()
		defer c.mu.Unlock()
		if got := c.servers[len(c.servers)-1].userData; v.Status != "ACTIVE" || got != string(opts.UserData) {
			t.Errorf("the server is %s, its user-data has %d bytes", v.Status, len(got))
		}
	})
}

// Before microversion 2.37 a server without networks gets the one that there is.
func TestOldServersChooseTheirNetwork(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		mine, theirs := c.clients("lab"), c.clients("other")
		mine.compute.Microversion, theirs.compute.Microversion = "2.36", "2.36"
		opts := c.runner(mine, "runner-1")
		opts.Networks = nil
		if v := c.create(mine, opts); v.Addresses["lab"] == nil {
			t.Errorf("the server has the addresses %v", v.Addresses)
		}
		refused(t, servers.Create(t.Context(), theirs.compute, opts, nil).Err, http.StatusConflict,
			"Multiple possible networks found, use a Network ID to be more specific.")
	})
}

func TestQuota(t *testing.T) {
	tests := map[string]struct {
		quota Quota
		want  string
	}{
		"instances": {Quota{Instances: 1, Cores: -1, RAM: -1, Ports: -1, MetadataItems: -1}, "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances"},
		"ram":       {Quota{Instances: -1, Cores: -1, RAM: 1024, Ports: -1, MetadataItems: -1}, "Quota exceeded for ram: Requested 2048, but already used 512 of 1024 ram"},
		"several":   {Quota{Instances: 1, Cores: 1, RAM: 1024, Ports: -1, MetadataItems: -1}, "Quota exceeded for cores, instances, ram: Requested 1, 1, 2048, but already used 1, 1, 512 of 1, 1, 1024 cores, instances, ram"},
		"ports":     {Quota{Instances: -1, Cores: -1, RAM: -1, Ports: 1, MetadataItems: -1}, "Maximum number of ports exceeded"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			world := FirstWorld()
			world.Projects[0].Quota = test.quota
			inCloud(t, Options{World: world}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				refused(t, servers.Create(t.Context(), all.compute, c.runner(all, "runner"), nil).Err, http.StatusForbidden,
					`{"forbidden":{"code":403,"message":"`+test.want+`"}}`)
			})
		})
	}
}

func TestListing(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		opts := c.runner(all, "")
		for _, name := range []string{"app-1-a", "app-1-b", "app-10-a", "App-1-c"} {
			opts.Name = name
			c.create(all, opts)
		}
		stopped := c.create(all, opts)
		must(t, servers.Stop(t.Context(), all.compute, stopped.ID).ExtractErr())
		time.Sleep(c.options.Timing.Power) // of the bubble's fake clock
		synctest.Wait()
		for query, test := range map[servers.ListOpts]struct {
			want   string
			status int
		}{
			{}:                                {"App-1-c App-1-c app-10-a app-1-b app-1-a bastion", 0},
			{Name: "app-1"}:                   {"App-1-c App-1-c app-10-a app-1-b app-1-a", 0},
			{Name: "^app-1-"}:                 {"App-1-c App-1-c app-1-b app-1-a", 0},
			{Name: "^app-1-[a-b]$", Limit: 1}: {"app-1-b app-1-a", 0},
			{Name: "app-10|bastion"}:          {"", 0},
			{Status: "SHUTOFF"}:               {"App-1-c", 0},
			{Status: "active", Limit: 2}:      {"App-1-c app-10-a app-1-b app-1-a bastion", 0},
			{Status: "PAUSED"}:                {"", 0},
			{Name: "["}:                       {"'[' is not a 'regex'", 400},
			{Status: "BROKEN"}:                {"Invalid status value", 400},
			{Status: "DELETED"}:               {"Only administrators may list deleted instances", 403},
			{Marker: "nothing"}:               {"marker [nothing] not found", 400},
			{Limit: -1}:                       {"'-1' does not match", 400},
			{Host: "compute-1"}:               {"'host' was unexpected", 400},
		} {
			found, err := c.list(all, query)
			if test.status != 0 {
				refused(t, err, test.status, test.want)
				continue
			}
			var names []string
			for _, v := range found {
				names = append(names, v.Name)
			}
			if got := strings.Join(names, " "); err != nil || got != test.want {
				t.Errorf("%+v: got %q, %v, want %q", query, got, err, test.want)
			}
		}
	})
}

func TestAThousandServersInPages(t *testing.T) {
	const count = 1000
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		opts := c.runner(all, "")
		for i := range count {
			opts.Name = fmt.Sprintf("runner-%04d", i)
			_, err := servers.Create(t.Context(), all.compute, opts, nil).Extract()
			must(t, err)
		}
		time.Sleep(c.options.Timing.Build) // of the bubble's fake clock
		synctest.Wait()
		for _, test := range []struct {
			query servers.ListOpts
			pages int
		}{
			{servers.ListOpts{Name: "^runner-", Limit: 300}, 4},
			// A full page has a link to the next one, which is empty.
			{servers.ListOpts{Name: "^runner-"}, 1},
			{servers.ListOpts{Name: "^runner-", Status: "ACTIVE", Limit: 5000}, 1},
		} {
			seen, pages := make(map[string]bool), 0
			err := servers.List(all.compute, test.query).EachPage(t.Context(), func(_ context.Context, page pagination.Page) (bool, error) {
				pages++
				found, err := servers.ExtractServers(page)
				for _, v := range found {
					if v.Status != "ACTIVE" || len(v.Addresses) != 1 {
						t.Errorf("%s is %s with %v", v.Name, v.Status, v.Addresses)
					}
					seen[v.Name] = true
				}
				return true, err
			})
			if err != nil || len(seen) != count || pages != test.pages {
				t.Errorf("%+v: %d servers in %d pages, %v", test.query, len(seen), pages, err)
			}
		}
		usage, err := limits.Get(t.Context(), all.compute, nil).Extract()
		if err != nil || usage.Absolute.TotalInstancesUsed != count+1 || usage.Absolute.TotalRAMUsed != count*2048+512 || usage.Absolute.MaxTotalInstances != 2000 {
			t.Errorf("the limits are %+v, %v", usage, err)
		}
	})
}

func TestFlavors(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all, ctx := c.clients("lab"), t.Context()
		pages, err := flavors.ListDetail(all.compute, flavors.ListOpts{Limit: 3}).AllPages(ctx)
		must(t, err)
		found, err := flavors.ExtractFlavors(pages)
		must(t, err)
		if len(found) != 4 || found[3].Name != "m1.large" || found[3].RAM != 8192 || found[3].VCPUs != 4 || !found[3].IsPublic {
			t.Errorf("the flavors are %+v", found)
		}
		if f, err := flavors.Get(ctx, all.compute, "2").Extract(); err != nil || f.Name != "m1.small" {
			t.Errorf("flavor 2 is %+v, %v", f, err)
		}
		refused(t, flavors.Get(ctx, all.compute, "m1.small").Err, http.StatusNotFound, "Flavor m1.small could not be found.")
		quota, err := quotasets.Get(ctx, all.compute, nameID("project", "lab")).Extract()
		if err != nil || quota.Instances != 2000 {
			t.Errorf("the quota is %+v, %v", quota, err)
		}
		refused(t, quotasets.Get(ctx, all.compute, nameID("project", "other")).Err, http.StatusForbidden, "os-quota-sets:show")
	})
}

func TestServersThatGoWrong(t *testing.T) {
	tests := map[string]struct {
		fault faults.Fault
		// status is what the server comes to, said its fault.
		status, said string
	}{
		"no host":          {faults.Fault{Kind: NoValidHost}, "ERROR", "No valid host was found. "},
		"another reason":   {faults.Fault{Kind: NoValidHost, Message: "Exceeded maximum number of retries."}, "ERROR", "Exceeded maximum number of retries."},
		"hangs":            {faults.Fault{Kind: BuildHangs}, "BUILD", ""},
		"hangs for a time": {faults.Fault{Kind: BuildHangs, For: time.Minute}, "ACTIVE", ""},
		"an odd status":    {faults.Fault{Kind: OddStatus, Message: "REBUILD"}, "REBUILD", ""},
		"it is another's":  {faults.Fault{Kind: NoValidHost, Name: "builder-*"}, "ACTIVE", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				c.fault(test.fault)
				made := c.create(all, c.runner(all, "runner-1"))
				time.Sleep(time.Hour) // of the bubble's fake clock
				all = c.clients("lab")
				if v := c.get(all, made.ID); v.Status != test.status || v.Fault.Message != test.said {
					t.Errorf("the server is %s with the fault %q", v.Status, v.Fault.Message)
				}
				must(t, servers.Delete(t.Context(), all.compute, made.ID).ExtractErr())
				time.Sleep(c.options.Timing.Delete) // of the bubble's fake clock
				synctest.Wait()
				if err := servers.Get(t.Context(), all.compute, made.ID).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
					t.Errorf("after it was deleted: %v", err)
				}
			})
		})
	}
}

func TestServersThatAreHardToDelete(t *testing.T) {
	tests := map[string]struct {
		fault faults.Fault
		// after is the state after an hour: status and task, "" where it is gone.
		after string
		ports int
	}{
		"hangs":            {faults.Fault{Kind: DeleteHangs}, "ACTIVE deleting", 1},
		"hangs for a time": {faults.Fault{Kind: DeleteHangs, For: time.Minute}, "", 0},
		"fails":            {faults.Fault{Kind: DeleteFails, Count: 1}, "ERROR ", 1},
		"leaves its port":  {faults.Fault{Kind: PortLeft}, "", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				v := c.create(all, c.runner(all, "runner-1"))
				c.fault(test.fault)
				must(t, servers.Delete(t.Context(), all.compute, v.ID).ExtractErr())
				time.Sleep(time.Hour) // of the bubble's fake clock
				found, err := c.list(all, servers.ListOpts{Name: "runner"})
				must(t, err)
				after := ""
				for _, one := range found {
					after = one.Status + " " + one.TaskState
				}
				if left := len(c.ports(all)) - 1; after != test.after || left != test.ports {
					t.Errorf("the server is %q with %d ports, want %q with %d", after, left, test.after, test.ports)
				}
			})
		})
	}
}

func TestServerVanishes(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		v := c.create(all, c.runner(all, "runner-1"))
		c.fault(faults.Fault{Kind: Vanishes, Name: "runner-*", Count: 1})
		if found, err := c.list(all, servers.ListOpts{}); err != nil || len(found) != 1 {
			t.Errorf("there are %v, %v", found, err)
		}
		refused(t, servers.Get(t.Context(), all.compute, v.ID).Err, http.StatusNotFound, v.ID)
	})
}

func BenchmarkListAThousandServers(b *testing.B) {
	s, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.end()
	p := s.projects[nameID("project", "lab")]
	for range 1000 {
		if err := s.addNeighbour(Neighbour{Name: "runner", Project: "lab"}, p); err != nil {
			b.Fatal(err)
		}
	}
	s.tokens["token"] = &token{id: "token", user: p.users["lab"], project: p, expires: time.Now().Add(time.Hour)}
	request := httptest.NewRequest(http.MethodGet, "/compute/v2.1/servers/detail", nil)
	request.Header.Set("X-Auth-Token", "token")
	request.Header.Set("OpenStack-API-Version", "compute 2.90")
	for b.Loop() {
		answer := httptest.NewRecorder()
		s.Handler().ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Body)
		}
	}
}
