package charm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/juju"
	"github-runner/charm/state"
)

func (s *stage) expectImage(want state.ImageRelation) {
	s.Helper()
	if diff := cmp.Diff(want, s.wanted.ImageRelation); diff != "" {
		s.Errorf("the image of the relation (-want +got):\n%s", diff)
	}
}

func TestImageOfARelation(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.expectImage(state.ImageRelation{})

	s.relations = relations{"image:3": {}}
	about := juju.Relation{Endpoint: "image", ID: "image:3", RemoteApp: "builder"}
	s.relate("created", about)
	s.expectImage(state.ImageRelation{Integrated: true})
	// Juju tells where the unit is by keys of its own.
	s.relations["image:3"]["builder/1"] = map[string]string{"ingress-address": "192.0.2.1"}
	about.RemoteUnit = "builder/1"
	s.relate("changed", about)
	s.expectImage(state.ImageRelation{Integrated: true, Application: "builder"})

	s.relations["image:3"]["builder/1"] = map[string]string{"id": "f00", "tags": "Noble,big"}
	s.relate("changed", about)
	s.expectImage(state.ImageRelation{Integrated: true, Application: "builder", ID: "f00"})
	if !slices.Contains(s.wanted.Labels, "noble") || !slices.Contains(s.wanted.Labels, "big") {
		t.Errorf("labels: %q", s.wanted.Labels)
	}
	s.params = map[string]any{"explain": true}
	s.action("check-runners")
	if line := "runners are to start from the image f00, which builder sends by the relation image"; !strings.Contains(s.results["explain"], line) {
		t.Errorf("explain: %q, want %q", s.results["explain"], line)
	}

	// Juju may still list who departs, and goes on listing a relation that ends.
	about.DepartingUnit = "builder/1"
	s.relate("departed", about)
	s.expectImage(state.ImageRelation{Integrated: true})
	s.relate("broken", juju.Relation{Endpoint: "image", ID: "image:3", RemoteApp: "builder"})
	s.expectImage(state.ImageRelation{})
}

// What makes images on OpenStack is told how to log in there, as long as it is to know.
func TestCredentialsForImages(t *testing.T) {
	const clouds = "clouds: {a: {auth: {auth_url: 'https://k/v3', username: ann, password: hunter2, project_name: ci}}}"
	s := newStage(t)
	s.relations = relations{"image:3": {"builder/0": {"id": "f00"}}}
	s.hook("config-changed")
	if len(s.sent) > 0 {
		t.Errorf("with runners on LXD it sends %v", s.sent)
	}
	// An empty pool moves at once.
	s.config["virtual-machines"] = int64(0)
	s.hook("config-changed")
	s.config["openstack-clouds-yaml"], s.config["openstack-flavor"], s.config["openstack-network"] = clouds, "small", "net"
	delete(s.config, "lxd-instance-type")
	s.hook("config-changed")
	want := map[string]string{
		"auth_url": "https://k/v3", "username": "ann", "user_domain_name": "Default", "password": "hunter2", "project_name": "ci", "project_domain_name": "Default",
	}
	if diff := cmp.Diff(want, s.sent["image:3"]); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	s.hook("update-status")
	if s.writes != 1 {
		t.Errorf("it writes %d times what is the same", s.writes)
	}

	s.config["openstack-clouds-yaml"] = strings.Replace(clouds, "hunter2", "hunter3", 1)
	s.unwritable = errors.New("no")
	s.hook("config-changed")
	s.unwritable = nil
	s.hook("update-status")
	if got := s.sent["image:3"]["password"]; got != "hunter3" || s.sent["image:3"]["username"] != "ann" {
		t.Errorf("a new password: sent %v", s.sent)
	}

	for _, option := range []string{"openstack-clouds-yaml", "openstack-flavor", "openstack-network"} {
		delete(s.config, option)
	}
	s.config["lxd-instance-type"] = "container"
	s.hook("config-changed")
	if len(s.sent["image:3"]) > 0 {
		t.Errorf("back on LXD there is left %v", s.sent)
	}
	writes := s.writes
	s.relate("broken", juju.Relation{Endpoint: "image", ID: "image:3", RemoteApp: "builder"})
	if s.writes != writes {
		t.Error("it writes into a relation that ends")
	}
}

func TestMalformedImageHidesNoOther(t *testing.T) {
	for name, test := range map[string]struct {
		data map[string]string
		want string
	}{
		"id":        {map[string]string{"id": "a b"}, `image: unit "builder/0" is left out: id "a b" is no image's`},
		"tags":      {map[string]string{"id": "a", "tags": "x;y"}, `image: unit "builder/0" is left out: tags "x;y" can be no labels`},
		"long":      {map[string]string{"id": strings.Repeat("9", 1<<20)}, "(1048576 characters)"},
		"not ready": {map[string]string{"tags": "x;y"}, ""},
		"unusable":  {huge, `image: unit "builder/0" is left out: cannot use the answer`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.relations = relations{"image:3": {"builder/0": test.data, "builder/10": {"id": "ten"}, "builder/2": {"id": "two"}}}
			s.hook("config-changed")
			s.expectImage(state.ImageRelation{Integrated: true, Application: "builder", ID: "two"})
			s.expectStatus(juju.Active, test.want)
			s.action("check-runners")
			if got := s.results["warning"]; !strings.Contains(got, test.want) || len(got) > 1000 {
				t.Errorf("check-runners warns: %.2000q, want %q", got, test.want)
			}
		})
	}
}

func TestNothingIsMadeInAUnitThatDepartsFromItsImage(t *testing.T) {
	s := newStage(t)
	s.relations = relations{"image:3": {"builder/0": {"id": "f00"}}}
	s.hook("config-changed")
	s.depart("image", "image:3", "builder")
}

func TestNoImageIsMadeBesideTheOneOfTheRelation(t *testing.T) {
	s, images := imageStage(t)
	images.during = func() { t.Error("an image is made") }
	images.due = "there is none yet"
	s.relations = relations{"image:3": {"builder/0": {"id": "f00"}}}
	for _, action := range []string{"build-image", "update-dependencies"} {
		s.action(action)
		if want := "the runners' comes from builder by the relation image"; !strings.Contains(s.failure, want) {
			t.Errorf("%s: failure %q, want %q", action, s.failure, want)
		}
	}
	s.expectStatus(juju.Active, "2 runners: 2 idle")
}
