package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/faults"
	"github-runner/lab/openstack"
)

func TestThingsAreFoundByNameOrID(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		byName := y.unit(mine)
		wanted := byName.prepare(1)
		found, err := byName.find(y.Context(), byName.services())
		must(t, err)
		byID := y.unit(mine, func(c *Config) {
			c.Keys = byName.config.Keys
			c.Flavor, c.Image, c.Network = found.flavor, found.image, found.network
		})
		if got := byID.prepare(1); got.Hash != wanted.Hash || got.Image != found.image || got.Hash == "" || got.BootDeadline != bootDeadline {
			t.Errorf("by ID it is %+v, by name %+v", got, wanted)
		}
		byID.create()
	})
}

func TestThingsThatAreNotFound(t *testing.T) {
	world := openstack.FirstWorld()
	world.Images = append(world.Images, openstack.Image{Name: "noble", Project: "lab"}, openstack.Image{Name: "arm", Properties: map[string]string{"architecture": "aarch64"}})
	world.Networks = append(world.Networks, openstack.Network{Name: "lab", Project: "lab", CIDR: "10.30.0.0/16"})
	for i := range 20 {
		world.Flavors = append(world.Flavors, openstack.Flavor{ID: fmt.Sprint(100 + i), Name: fmt.Sprint("huge", i), VCPUs: 1, RAM: 1, Disk: 1})
	}
	const nowhere = "00000000-0000-4000-8000-000000000000"
	jammy := func(c *Config) { c.Image, c.Network = "jammy", "ext" }
	tests := map[string]struct {
		change func(*Config)
		kind   error
		words  []string
	}{
		"no flavor": {func(c *Config) { jammy(c); c.Flavor = "m2.small" }, runner.ErrNotFound,
			[]string{"set openstack-flavor to the name or ID of one that there is", `has no flavor "m2.small"`, "huge0 (ID 100)", " and 14 more"}},
		"no image": {func(c *Config) { jammy(c); c.Image = "Jammy" }, runner.ErrNotFound,
			[]string{"set openstack-image to", `has no active image "Jammy"`, "jammy (ID ", "arm (ID "}},
		"no image by ID":   {func(c *Config) { jammy(c); c.Image = nowhere }, runner.ErrNotFound, []string{"set openstack-image to", nowhere}},
		"somebody's image": {func(c *Config) { jammy(c); c.Image = "appliance" }, runner.ErrNotFound, []string{"set openstack-image to"}},
		"no network": {func(c *Config) { jammy(c); c.Network = "private" }, runner.ErrNotFound,
			[]string{"set openstack-network to", `has no network "private"`, "ext (ID ", "lab (ID "}},
		"two images":   {func(c *Config) { jammy(c); c.Image = "noble" }, runner.ErrInvalid, []string{"set openstack-image to an ID", `several of the name "noble": noble (ID `}},
		"two networks": {func(c *Config) { jammy(c); c.Network = "lab" }, runner.ErrInvalid, []string{"set openstack-network to an ID", `several of the name "lab": lab (ID `}},
		"no flavor and no network": {func(c *Config) { c.Flavor, c.Network = "m2.small", "private" }, runner.ErrNotFound,
			[]string{"set openstack-flavor to the name or ID of one that there is, and set openstack-network to", `has no flavor "m2.small"`, `has no network "private"`}},
		"no image and two networks": {func(c *Config) { c.Image, c.Network = "Jammy", "lab" }, runner.ErrNotFound,
			[]string{"set openstack-image to the name or ID of one that there is, and set openstack-network to an ID", `several of the name "lab"`}},
		"another architecture": {func(c *Config) { jammy(c); c.Image, c.Arch = "arm", "amd64" }, runner.ErrInvalid,
			[]string{"set openstack-image to an image of the architecture amd64", "is of the architecture aarch64"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inYard(t, openstack.Options{World: world}, func(y *yard) {
				u := y.unit(mine, test.change)
				_, err := u.Prepare(y.Context(), want(1))
				expect(t, err, test.kind, test.words...)
				if left := u.ourGroups(); len(left) != 0 {
					t.Errorf("a security group was made: %+v", left)
				}
				u.prepare(0) // needs none of it
			})
		})
	}
	inYard(t, openstack.Options{World: world}, func(y *yard) {
		y.unit(mine, func(c *Config) { jammy(c); c.Image, c.Arch = "arm", "arm64" }).prepare(1)
	})
}

// What was removed between two looks at it is looked for anew.
func TestThingsThatGo(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u, ctx := y.unit(mine), y.Context()
		template := u.prepare(1)
		must(t, u.deleteGroup(ctx, u.services(), u.ourGroups()[0].ID))
		expect(t, u.Create(ctx, template, u.birth()), runner.ErrInvalid, "Unable to find security_group")
		must(t, u.Create(ctx, template, u.birth()))

		y.fault(faults.Fault{Kind: openstack.ImageGone, Name: "noble"})
		expect(t, u.Create(ctx, template, u.birth()), runner.ErrInvalid, "Can not find requested image")
		_, err := u.Prepare(ctx, want(1))
		expect(t, err, runner.ErrNotFound, "set openstack-image")
	})
}

// A newer image of the same name, with the older one renamed, is another template.
func TestNewerImages(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine, func(c *Config) { c.Image = "runner" })
		in := y.unit(theirs).services()
		made, err := images.Create(y.Context(), in.image, images.CreateOpts{Name: "runner", ContainerFormat: "bare", DiskFormat: "qcow2"}).Extract()
		must(t, err)
		_, err = u.Prepare(y.Context(), want(1))
		expect(t, err, runner.ErrNotFound, `has no active image "runner"`)
		if made.Status != images.ImageStatusQueued {
			t.Errorf("the image is %s", made.Status)
		}
	})
}

func TestHash(t *testing.T) {
	base := Config{Owner: mine}
	on := ground{flavor: "f", image: "i", network: "n", group: "g"}
	hash := func(change func(*Config, *runner.Want, *ground)) string {
		config, wanted, found := base, want(1), on
		change(&config, &wanted, &found)
		return (&Cloud{config: config}).hash(wanted, found)
	}
	same := hash(func(*Config, *runner.Want, *ground) {})
	for name, change := range map[string]func(*Config, *runner.Want, *ground){
		"labels in another order": func(_ *Config, w *runner.Want, _ *ground) { w.Labels = []string{"x64", "SELF-hosted"} },
		"the number":              func(_ *Config, w *runner.Want, _ *ground) { w.Count = 7 },
		"the application":         func(_ *Config, w *runner.Want, _ *ground) { w.Application.URL = "https://example.com" },
		"the security group":      func(_ *Config, _ *runner.Want, g *ground) { g.group = "h" },
		"the unit's addresses":    func(c *Config, _ *runner.Want, _ *ground) { c.ManagerAddresses = nil },
	} {
		if hash(change) != same {
			t.Errorf("%s: the template is another", name)
		}
	}
	seen := map[string]string{same: "nothing"}
	for name, change := range map[string]func(*Config, *runner.Want, *ground){
		"the scope":    func(_ *Config, w *runner.Want, _ *ground) { w.Scope.Path = "acme" },
		"the group":    func(_ *Config, w *runner.Want, _ *ground) { w.Group = "blue" },
		"a label":      func(_ *Config, w *runner.Want, _ *ground) { w.Labels = append(w.Labels, "gpu") },
		"the flavor":   func(_ *Config, _ *runner.Want, g *ground) { g.flavor = "x" },
		"the image":    func(_ *Config, _ *runner.Want, g *ground) { g.image = "x" },
		"the network":  func(_ *Config, _ *runner.Want, g *ground) { g.network = "x" },
		"a proxy":      func(c *Config, _ *runner.Want, _ *ground) { c.Proxy.HTTP = secret.New("http://proxy") },
		"another":      func(c *Config, _ *runner.Want, _ *ground) { c.Proxy.HTTP = secret.New("http://other") },
		"aproxy":       func(c *Config, _ *runner.Want, _ *ground) { c.Aproxy.Proxy = "proxy:3128" },
		"a mirror":     func(c *Config, _ *runner.Want, _ *ground) { c.DockerMirror = "https://mirror" },
		"a debug host": func(c *Config, _ *runner.Want, _ *ground) { c.DebugHosts = []cloudinit.DebugHost{{Host: "h"}} },
		"a policy":     func(c *Config, _ *runner.Want, _ *ground) { c.Policy.URL = "https://policy" },
		"the keys":     func(c *Config, _ *runner.Want, _ *ground) { c.Keys = keys(t) },
		"members only": func(c *Config, _ *runner.Want, _ *ground) { c.MembersOnly = true },
	} {
		got := hash(change)
		if seen[got] != "" {
			t.Errorf("%s: the template is that of %s", name, seen[got])
		}
		seen[got] = name
	}
}

// The options are checked before a runner is registered that could not be made.
func TestTooMuchUserData(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine, func(c *Config) {
			c.Proxy = cloudinit.Proxy{HTTP: secret.New("http://proxy"), NoProxy: filler(70_000).Reveal()}
		})
		_, err := u.Prepare(y.Context(), want(1))
		var trouble runner.Trouble
		if !isTrouble(err, &trouble) || trouble.Advice != "shorten juju-no-proxy of the model" {
			t.Errorf("the error is %v", err)
		}
		u = y.unit(mine)
		wanted := want(1)
		wanted.Scope.API = "https://" + strings.Repeat("x", 300) + ".example.com"
		_, err = u.Prepare(y.Context(), wanted)
		expect(t, err, runner.ErrInvalid, "shorten the option github-url")
	})
}

// Each runner has a token of its own for the policy service.
func TestPolicyTokens(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		tokens, refuse := 0, error(nil)
		u := y.unit(mine, func(c *Config) {
			c.Policy = Policy{URL: "https://policy.example.com", NewToken: func(context.Context) (secret.Text, error) {
				tokens++
				return secret.New(fmt.Sprint("token-", tokens)), refuse
			}}
		})
		u.create()
		u.create()
		if tokens != 2 {
			t.Errorf("%d tokens were made", tokens)
		}
		data, err := u.userData(runner.Template{}, u.birth(), secret.New("token-3"))
		if err != nil || !strings.Contains(string(data), "token-3") || !strings.Contains(string(data), "https://policy.example.com") {
			t.Errorf("the user-data is %s, %v", data, err)
		}
		refuse = runner.ErrUnreachable
		expect(t, u.Create(y.Context(), u.prepare(1), u.birth()), runner.ErrUnreachable, "no token for the policy service")
		if all := u.list(); len(all) != 2 {
			t.Errorf("there are %+v", all)
		}
	})
}

// What is hashed keeps its form: another one would replace every runner.
func TestInputsKeepTheirForm(t *testing.T) {
	got, err := json.Marshal(inputs{Version: templateVersion})
	must(t, err)
	const wanted = `{"version":1,"scope":{"api":"","path":""},"group":"","labels":null,"image":"","flavor":"","network":"","key":"","proxy":{},` +
		`"aproxy":{"proxy":"","exclude":null,"ports":null},"docker-mirror":"","debug-hosts":null}`
	if string(got) != wanted {
		t.Errorf("it is %s", got)
	}
}
