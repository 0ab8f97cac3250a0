package charm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/image"
	"github-runner/charm/juju"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// images makes images in no time.
type images struct {
	stage *stage
	// busy is set while another unit makes one.
	busy bool
	// during is done while one is made.
	during func()
	// current is in use, due is why that is not good enough.
	current image.Image
	due     string
	// unready and broken are why it can't.
	unready, broken error
	// unknown is why what is there is not known.
	unknown error
}

func (i *images) Ready(context.Context) error { return i.unready }

func (i *images) Lock(ctx context.Context, waiting func()) (func(), error) {
	if i.busy {
		waiting()
		return nil, ctx.Err()
	}
	return func() {}, nil
}

func (i *images) Due(context.Context) (string, error) { return i.due, i.unknown }

func (i *images) Current(context.Context) (image.Image, error) { return i.current, i.unknown }

func (i *images) Retire(context.Context) error { return nil }

func (i *images) Build(_ context.Context, progress func(string)) (image.Built, error) {
	progress("installing packages")
	i.stage.expectStatus(juju.Maintenance, "building the runner image: installing packages")
	if i.during != nil {
		i.during()
	}
	about := image.About{RunnerVersion: "2.999.1", Made: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	i.current = image.Image{Fingerprint: "f1", About: about}
	return image.Built{Image: i.current, Skipped: []string{"aproxy: no snapd"}}, i.broken
}

func imageStage(t *testing.T) (*stage, *images) {
	s := newStage(t)
	s.images = &images{stage: s}
	s.hook("config-changed")
	return s, s.images
}

// remember changes what the unit remembers, as another process does.
func (s *stage) remember(change func(*unitdir.State)) {
	s.Helper()
	dir, err := (&Charm{Root: s.root, Context: juju.Context{Unit: "github-runner/0", ModelUUID: s.wanted.Owner.ModelUUID}}).folder()
	if err != nil {
		s.Fatal(err)
	}
	hold, err := unit.TakeBetween(s.Context(), dir, quiet())
	if err != nil {
		s.Fatal(err)
	}
	defer hold.Release()
	change(&hold.Past)
	if err := hold.Write(); err != nil {
		s.Fatal(err)
	}
}

func TestBuildImage(t *testing.T) {
	s, images := imageStage(t)
	// A hook of another process would find the unit free.
	images.during = func() { s.remember(func(*unitdir.State) {}) }
	s.action("build-image")
	s.expectResults(map[string]string{
		"image": "f1", "runner-version": "2.999.1", "made": "2026-11-29T12:00:00Z", "skipped": "aproxy: no snapd", "online": "2",
	})
	if want := []string{"installing packages"}; !cmp.Equal(s.log, want) {
		t.Errorf("progress was %q, want %q", s.log, want)
	}
	s.expectStatus(juju.Active, "2 runners: 2 idle")
}

func TestBuildImageBesideAnother(t *testing.T) {
	s, images := imageStage(t)
	images.busy = true
	s.action("build-image")
	if !strings.Contains(s.failure, "an image is being made already") {
		t.Errorf("failure %q", s.failure)
	}
	s.expectStatus(juju.Active, "2 runners: 2 idle")
}

// What the agent could not do is told where people look, until it can, or need not.
func TestStatusTellsOfImagesThatCouldNotBeMade(t *testing.T) {
	s, _ := imageStage(t)
	s.remember(func(past *unitdir.State) {
		past.ImageTrouble = unitdir.ImageTrouble{Error: "cannot build the image: cannot install packages\nE: no podmann", Since: time.Date(2026, 11, 29, 12, 30, 0, 0, time.UTC)}
	})
	s.hook("update-status")
	const note = "no runner image could be made since 29 November 12:30 UTC: cannot build the image: cannot install packages; E: no podmann"
	s.expectStatus(juju.Active, note)
	s.action("check-runners")
	if !strings.Contains(s.results["warning"], note) {
		t.Errorf("results %v", s.results)
	}
	s.config["image-interval"] = int64(0)
	s.hook("config-changed")
	if strings.Contains(s.message, "no runner image") {
		t.Errorf("the status says %q where no image is wanted", s.message)
	}
	s.config["image-interval"] = int64(7)
	s.action("build-image")
	s.hook("update-status")
	if strings.Contains(s.message, "no runner image") {
		t.Errorf("the status says %q after an image was made", s.message)
	}
}

func TestBuildImageThatFails(t *testing.T) {
	for name, set := range map[string]func(*images, error){
		"the machine": func(i *images, err error) { i.unready = err },
		"the build":   func(i *images, err error) { i.broken = err },
	} {
		t.Run(name, func(t *testing.T) {
			s, images := imageStage(t)
			set(images, errors.New("cannot build the image: cannot install packages: no network"))
			s.action("build-image")
			if !strings.Contains(s.failure, "cannot install packages: no network") || s.results["image"] != "" {
				t.Errorf("failure %q, results %v", s.failure, s.results)
			}
			s.expectStatus(juju.Active, "2 runners: 2 idle")
			s.expectMachines(2)
		})
	}
}

func TestBuildImageWhereNoneIsMade(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.action("build-image")
	if s.failure != "this cloud makes no images" {
		t.Errorf("failure %q", s.failure)
	}
}

func TestBuildImageWithABadConfiguration(t *testing.T) {
	s := newStage(t)
	s.config["path"] = "a b"
	s.action("build-image")
	if !strings.Contains(s.failure, `path "a b" is not valid`) {
		t.Errorf("failure %q", s.failure)
	}
}

func TestUpdateDependencies(t *testing.T) {
	elder := image.Image{Fingerprint: "f0", About: image.About{RunnerVersion: "2.1.0"}}
	tests := map[string]struct {
		current image.Image
		due     string
		days    int64
		want    map[string]string
	}{
		"nothing is new": {elder, "", 7, map[string]string{
			"flush": "False", "runner-version-before": "2.1.0", "runner-version": "2.1.0", "image": ""}},
		"another application": {elder, "its runner application is 2.1.0", 7, map[string]string{
			"flush": "True", "runner-version-before": "2.1.0", "runner-version": "2.999.1", "image": "f1"}},
		"no image yet": {image.Image{}, "there is none yet", 7, map[string]string{
			"flush": "True", "runner-version-before": "", "runner-version": "2.999.1", "image": "f1"}},
		"no image, as the operator wants it": {image.Image{}, "there is none yet", 0, map[string]string{
			"flush": "False", "runner-version": "", "image": ""}},
		"made by hand, and old": {elder, "the stock image is another one", 0, map[string]string{
			"flush": "True", "runner-version": "2.999.1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, images := imageStage(t)
			s.config["image-interval"] = test.days
			images.current, images.due = test.current, test.due
			s.action("update-dependencies")
			s.expectResults(test.want)
			s.expectResults(map[string]string{"online": "2"})
			s.expectStatus(juju.Active, "2 runners: 2 idle")
		})
	}
}

func TestUpdateDependenciesWhereNothingIsKnown(t *testing.T) {
	s, images := imageStage(t)
	images.unknown = errors.New("LXD is away")
	s.action("update-dependencies")
	if s.failure != "LXD is away" || s.results["flush"] != "" {
		t.Errorf("failure %q, results %v", s.failure, s.results)
	}
}
