package charm

import (
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
