package project

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github-runner/lab/openstack"
)

// inProject opens the project lab of an emulated cloud.
func inProject(t *testing.T) *Project {
	t.Helper()
	server, err := openstack.New(openstack.Options{Dir: t.TempDir(), Timing: openstack.Quick()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- server.Serve(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the cloud ends with %v", err)
		}
	})
	p, err := Open(t.Context(), []byte(server.CloudsYAML("lab", "lab")+"  another: {auth: {auth_url: http://nowhere.invalid}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNamesAreTheProjectsOwn(t *testing.T) {
	p := inProject(t)
	before, err := p.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != len(p.kinds("")) || len(before["servers"]) != 1 || len(before["ports"]) != 1 || len(before["keypairs"]) != 0 {
		t.Errorf("at first there are %v", before)
	}
	id, err := p.Create(t.Context(), Order{Name: "web", Flavor: "m1.tiny", Image: "jammy", Network: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		v, err := p.Server(ctx, "web")
		if err != nil {
			t.Fatal(err)
		}
		if v.Status == "ACTIVE" {
			break
		}
	}
	after, err := p.Names(t.Context())
	if err != nil || !slices.Contains(after["servers"], "web ("+id+")") || len(after["ports"]) != 2 {
		t.Errorf("then there are %v, %v", after, err)
	}
}

func TestCreateNamesWhatIsMissing(t *testing.T) {
	p := inProject(t)
	for want, order := range map[string]Order{
		`0 flavors are called "huge"`:        {Name: "web", Flavor: "huge", Image: "jammy", Network: "lab"},
		`0 images are called "appliance"`:    {Name: "web", Flavor: "m1.tiny", Image: "appliance", Network: "lab"},
		`0 networks are called "private"`:    {Name: "web", Flavor: "m1.tiny", Image: "jammy", Network: "private"},
		`cannot make the server web: 0 netw`: {Name: "web", Flavor: "1", Image: "jammy", Network: "none"},
	} {
		if _, err := p.Create(t.Context(), order); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", order, err, want)
		}
	}
}

func TestCreateAll(t *testing.T) {
	p := inProject(t)
	// Another project's is not this one's to start from.
	order := Order{Flavor: "m1.tiny", Image: "appliance", Network: "lab"}
	if ids, err := p.CreateAll(t.Context(), order, []string{"a", "b"}, 2); err == nil || !strings.Contains(err.Error(), "a, b") || !slices.Equal(ids, []string{"", ""}) {
		t.Errorf("%q, %v", ids, err)
	}
	order.Image = "jammy"
	names := []string{"a", "b", strings.Repeat("c", 256)}
	ids, err := p.CreateAll(t.Context(), order, names, 2)
	if err == nil || !strings.Contains(err.Error(), names[2]) || len(ids) != 3 || ids[2] != "" {
		t.Errorf("one has a name that is too long: %q, %v", ids, err)
	}
	for i, name := range names[:2] {
		if made, err := p.Server(t.Context(), name); err != nil || made.ID != ids[i] {
			t.Errorf("%s has the ID %s, not %s: %v", name, made.ID, ids[i], err)
		}
	}
}

func TestOpenRefusesWhatIsNoCloudsYAML(t *testing.T) {
	for content, want := range map[string]string{
		"":                             "names no cloud",
		"clouds: {}":                   "names no cloud",
		"clouds: [hunter2]":            "names no cloud",
		"\thunter2":                    "it is no YAML",
		"clouds: {a: {auth: hunter2}}": `the cloud "a"`,
	} {
		_, err := Open(t.Context(), []byte(content))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}
