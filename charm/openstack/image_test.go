package openstack

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/openstack"
)

// builder returns the cloud of a unit that can make images.
func (y *yard) builder(owner runner.Owner, changes ...func(*Config)) *unit {
	y.Helper()
	lock := y.TempDir()
	u := y.unit(owner, append(changes, func(c *Config) { c.ImageLock = lock })...)
	must(y.T, u.Images().Ready(y.Context()))
	return u
}

func recipe() image.Recipe {
	return image.Recipe{
		Application: runner.Application{Version: "2.999.1", URL: "https://example.com/runner", SHA256: strings.Repeat("0", 64)},
		YQ:          image.YQ("amd64"),
	}
}

func (u *unit) build() (image.Built, error) {
	return image.Build(u.yard.Context(), u.Images(), recipe(), func(string) {})
}

// mustBuild makes an image and returns its ID.
func (u *unit) mustBuild() string {
	u.yard.Helper()
	built, err := u.build()
	must(u.yard.T, err)
	return built.Fingerprint
}

// kept are the unit's images, as they are found.
func (u *unit) kept() []string {
	u.yard.Helper()
	all, err := u.made(u.yard.Context(), u.services())
	must(u.yard.T, err)
	ids := []string{}
	for _, one := range all {
		ids = append(ids, one.ID)
	}
	return ids
}

// noMachine checks that nothing works at an image.
func (u *unit) noMachine() {
	u.yard.Helper()
	if all, err := u.imageMachines(u.yard.Context(), u.services()); err != nil || len(all) > 0 {
		u.yard.Errorf("the machines for images %+v are left, %v", all, err)
	}
}

func TestImagesAreMadeAndUsed(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		stock := u.prepare(1)
		var lines []string
		built, err := image.Build(y.Context(), u.Images(), recipe(), func(line string) { lines = append(lines, line) })
		must(t, err)
		wanted := []string{
			"starting a machine from the stock image", "installing the runner application",
			"making an image of the machine", "starting a machine from the new image",
		}
		for _, line := range wanted {
			if !strings.Contains(strings.Join(lines, "\n"), line) {
				t.Errorf("the progress is %q, without %q", lines, line)
			}
		}
		current, err := u.Images().Current(y.Context())
		must(t, err)
		if diff := cmp.Diff(built.Image, current); diff != "" || current.Base != stock.Image || current.RunnerVersion != "2.999.1" || time.Since(current.Made) > time.Hour {
			t.Errorf("in use (-built +current):\n%s%+v", diff, current)
		}
		made := u.prepare(1)
		if made.Image != built.Fingerprint || made.Hash == stock.Hash || len(made.Warnings) > 0 {
			t.Errorf("runners start by %+v", made)
		}
		if reason, err := image.Due(y.Context(), u.Images(), recipe(), 7*24*time.Hour, time.Now()); err != nil || reason != "" {
			t.Errorf("another is due: %q, %v", reason, err)
		}
		u.noMachine()
		birth := u.birth()
		must(t, u.Create(y.Context(), made, birth))
		y.built()
		must(t, u.Delete(y.Context(), birth.Name))
		must(t, errors.Join(u.Destroy(y.Context()), u.Images().Retire(y.Context())))
		if left := u.kept(); len(left) > 0 {
			t.Errorf("the images %v are left", left)
		}
		y.nothingLeft(u)
	})
}

// In the steady state the unit's own image costs no more calls than the stock image.
func TestSteadyStateWithAnImage(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		u.mustBuild()
		u.prepare(1)
		u.calls.take()
		u.prepare(1)
		wanted := []string{
			"GET /compute/v2.1/flavors/detail", "GET /image/v2/images", "GET /network/v2.0/networks", "GET /network/v2.0/security-groups",
		}
		if diff := cmp.Diff(wanted, u.calls.take()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// The one before is kept, for a way back; those before it go.
func TestTheImageBeforeIsKept(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		first, second := u.mustBuild(), u.mustBuild()
		if diff := cmp.Diff([]string{second, first}, u.kept()); diff != "" {
			t.Errorf("after two (-want +got):\n%s", diff)
		}
		third := u.mustBuild()
		if diff := cmp.Diff([]string{third, second}, u.kept()); diff != "" {
			t.Errorf("after three (-want +got):\n%s", diff)
		}
		must(t, u.Images().Use(y.Context(), second))
		if got := u.prepare(1).Image; got != second {
			t.Errorf("on the way back runners start from %s, want %s", got, second)
		}
		if diff := cmp.Diff([]string{second, third}, u.kept()); diff != "" {
			t.Errorf("after it (-want +got):\n%s", diff)
		}
		for _, other := range []string{first, u.stock()} {
			if err := u.Images().Use(y.Context(), other); err == nil {
				t.Errorf("image %s is used", other)
			}
		}
	})
}

func (u *unit) stock() string {
	u.yard.Helper()
	id, err := u.Images().Stock(u.yard.Context())
	must(u.yard.T, err)
	return id
}

// What runners could not start from, or should not, is passed over.
func TestImagesThatAreNotUsed(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"another stock image": func(c *Config) { c.Image = "jammy" },
		"a smaller flavor":    func(c *Config) { c.Flavor = "m1.tiny" },
		"another unit":        func(c *Config) { c.Owner = ten },
		"another model":       func(c *Config) { c.Owner = theirs },
	} {
		t.Run(name, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				made := y.builder(mine).mustBuild()
				u := y.builder(mine, change)
				if got := u.prepare(1).Image; got != u.stock() {
					t.Errorf("runners start from %s", got)
				}
				if current, err := u.Images().Current(y.Context()); err != nil || current.Fingerprint != "" {
					t.Errorf("in use is %+v, %v", current, err)
				}
				if back := y.builder(mine).prepare(1).Image; back != made {
					t.Errorf("afterwards runners start from %s, want %s", back, made)
				}
			})
		})
	}
}

func TestImagesGetOld(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		made := u.mustBuild()
		for _, test := range []struct {
			days  int
			image string
			warns string
		}{
			{19, made, ""},
			{21, made, "the runner image was made 21 days ago, and GitHub refuses runner applications after about 30: juju run app/1 build-image"},
			{28, u.stock(), "runners start from the stock image noble until there is a new one: juju run app/1 build-image"},
		} {
			y.wait(time.Duration(test.days)*24*time.Hour - time.Since(y.born) + time.Hour)
			template := u.prepare(1)
			if warns := strings.Join(template.Warnings, "\n"); template.Image != test.image || !strings.Contains(warns, test.warns) || (warns == "") != (test.warns == "") {
				t.Errorf("after %d days runners start by %+v", test.days, template)
			}
		}
		u.mustBuild()
		if template := u.prepare(1); len(template.Warnings) > 0 {
			t.Errorf("of a new one it says %q", template.Warnings)
		}
	})
}

// What somebody made of the unit's images is theirs.
func TestImagesOfOthersStay(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		ctx, in := y.Context(), u.services()
		renamed, protected := u.mustBuild(), u.mustBuild()
		change := func(id string, to images.Patch) {
			_, err := images.Update(ctx, in.image, id, images.UpdateOpts{to}).Extract()
			must(t, err)
		}
		change(renamed, images.ReplaceImageName{NewName: "golden"})
		change(protected, images.ReplaceImageProtected{NewProtected: true})
		namesake, err := images.Create(ctx, in.image, images.CreateOpts{Name: u.config.imageName()}).Extract()
		must(t, err)
		other := y.builder(theirs).mustBuild()
		for range 3 {
			u.mustBuild()
		}
		must(t, errors.Join(u.Destroy(ctx), u.Images().Retire(ctx)))
		for _, id := range []string{renamed, protected, namesake.ID, other, u.stock()} {
			if err := images.Get(ctx, in.image, id).Err; err != nil {
				t.Errorf("image %s: %v", id, err)
			}
		}
	})
}

// However a build fails, what is in use stays, nothing is left, and the next one works.
func TestBuildsThatFail(t *testing.T) {
	name := mine.Prefix() + "-image"
	for what, test := range map[string]struct {
		fault faults.Fault
		words string
	}{
		"no room":              {faults.Fault{Kind: openstack.QuotaExceeded, Name: name}, "raise the quota of the OpenStack project"},
		"no host":              {faults.Fault{Kind: openstack.NoValidHost, Name: name}, "No valid host was found."},
		"no place for long":    {faults.Fault{Kind: openstack.BuildHangs, Name: name}, "the machine had not done its work within 1h0m0s"},
		"a package is missing": {faults.Fault{Kind: guests.BuildFails, Name: name, Message: "no docker.io"}, "no docker.io"},
		"it never ends":        {faults.Fault{Kind: guests.BuildHangs, Name: name}, "the last that it printed: "},
		"it vanishes":          {faults.Fault{Kind: openstack.Vanishes, Name: name, Count: 1}, image.ErrGone.Error()},
		"the trial fails":      {faults.Fault{Kind: guests.AppExits, Name: name, Message: "no libicu"}, "the new image does not work: no libicu"},
		"the snapshot fails":   {faults.Fault{Kind: openstack.SnapshotFails, Name: name}, "OpenStack has given it up"},
		"the snapshot hangs":   {faults.Fault{Kind: openstack.SnapshotHangs, Name: name}, "OpenStack had not made it within 30m0s"},
		"the image is gone":    {faults.Fault{Kind: openstack.ImageGone, Name: name}, "OpenStack has given it up"},
		"no snapshots":         {faults.Fault{Kind: openstack.CallFails, Name: "POST */servers/*/action", Status: 403, Message: "Policy doesn't allow it."}, "Policy doesn't allow it."},
		"a server's answer":    {faults.Fault{Kind: openstack.LostAnswer, Name: "POST */servers"}, "cannot tell whether server " + name},
		"Glance is broken":     {faults.Fault{Kind: openstack.CallFails, Name: "PATCH */images/*"}, "cannot put image"},
	} {
		t.Run(what, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.builder(mine)
				before := u.mustBuild()
				y.fault(test.fault)
				_, err := u.build()
				if err == nil || !strings.Contains(err.Error(), test.words) {
					t.Errorf("the error is %v, want %q", err, test.words)
				}
				y.ClearFaults("")
				u.noMachine()
				if diff := cmp.Diff([]string{before}, u.kept()); diff != "" {
					t.Errorf("images (-want +got):\n%s", diff)
				}
				after := u.mustBuild()
				if got := u.prepare(1).Image; got != after {
					t.Errorf("runners start from %s, want %s", got, after)
				}
				must(t, errors.Join(u.Destroy(y.Context()), u.Images().Retire(y.Context())))
				y.nothingLeft(u)
			})
		})
	}
}

// A snapshot that is made though nobody hears of it goes with the others that nobody uses.
func TestSnapshotWhoseAnswerIsLost(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		before := u.mustBuild()
		deaf := publishing{u.Images(), func() {
			y.fault(faults.Fault{Kind: openstack.LostAnswer, Name: "POST */servers/*/action", Count: 1})
		}}
		_, err := image.Build(y.Context(), deaf, recipe(), func(string) {})
		expect(t, err, runner.ErrUnreachable, "cannot make an image of server "+mine.Prefix()+"-image")
		u.noMachine()
		if diff := cmp.Diff([]string{before}, u.kept()); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
	})
}

// publishing is where something happens before an image is made.
type publishing struct {
	Images
	before func()
}

func (p publishing) Publish(ctx context.Context, about image.About) (string, error) {
	p.before()
	return p.Images.Publish(ctx, about)
}

// What goes wrong for a while is waited out.
func TestBuildsThatSucceedAllTheSame(t *testing.T) {
	name := mine.Prefix() + "-image"
	for what, fault := range map[string]faults.Fault{
		"it stays on":           {Kind: openstack.PowerOffHangs, Name: name},
		"Nova is slow":          {Kind: openstack.BuildHangs, Name: name, For: 5 * time.Minute},
		"it boots slowly":       {Kind: openstack.SlowBoot, Name: name, For: 5 * time.Minute},
		"Nova fails at times":   {Kind: openstack.CallFails, Name: "GET */servers/*-*", Count: 3},
		"Glance fails at times": {Kind: openstack.CallFails, Name: "GET */images/*-*", Count: 1},
		"a use's answer":        {Kind: openstack.LostAnswer, Name: "PATCH */images/*"},
	} {
		t.Run(what, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.builder(mine)
				y.fault(fault)
				made := u.mustBuild()
				y.ClearFaults("")
				if got := u.prepare(1).Image; got != made {
					t.Errorf("runners start from %s, want %s", got, made)
				}
				u.noMachine()
			})
		})
	}
}

// What a build that was killed left goes when nobody builds any more, and only then.
func TestLeftoversOfAKilledBuild(t *testing.T) {
	for _, step := range []string{whileItWorks, whileAnImageIsMade, beforeItIsUsed} {
		t.Run(step, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.builder(mine)
				before := u.mustBuild()
				release, err := u.Images().Lock(y.Context(), nil)
				must(t, err)
				broken, cut := context.WithCancel(y.Context())
				defer cut()
				killed := killable{Images: u.Images(), kill: cut, at: step}
				if _, err := image.Build(broken, killed, recipe(), func(string) {}); !errors.Is(err, context.Canceled) {
					t.Fatalf("the build ends with %v", err)
				}
				another := y.unit(mine, func(c *Config) { c.ImageLock = u.config.ImageLock })
				look := func() {
					another.list()
					another.prepare(1)
					another.prepare(1)
				}
				look()
				if machines, err := u.imageMachines(y.Context(), u.services()); err != nil || len(machines) == 0 {
					t.Errorf("what somebody works at is gone: %v", err)
				}
				release()
				look()
				y.wait(time.Minute)
				u.noMachine()
				if diff := cmp.Diff([]string{before}, u.kept()); diff != "" {
					t.Errorf("images (-want +got):\n%s", diff)
				}
				if got := another.prepare(1).Image; got != before {
					t.Errorf("runners start from %s, want %s", got, before)
				}
			})
		})
	}
}

// killable is where a process makes images that dies at some step: nothing is cleared.
type killable struct {
	Images
	kill context.CancelFunc
	at   string
}

// The steps at which a build is killed.
const (
	whileItWorks       = "while the machine works"
	whileAnImageIsMade = "while an image is made"
	beforeItIsUsed     = "before the image is in use"
)

func (k killable) Run(ctx context.Context, base string, userData []byte, progress func(string)) ([]byte, error) {
	if k.at == whileItWorks {
		time.AfterFunc(time.Millisecond, k.kill)
	}
	return k.Images.Run(ctx, base, userData, progress)
}

func (k killable) Publish(ctx context.Context, about image.About) (string, error) {
	if k.at == whileAnImageIsMade {
		time.AfterFunc(time.Millisecond, k.kill)
	}
	return k.Images.Publish(ctx, about)
}

func (k killable) Use(ctx context.Context, id string) error {
	if k.at == beforeItIsUsed {
		k.kill()
	}
	return k.Images.Use(ctx, id)
}

func (k killable) Clear(context.Context) error { return nil }

// The machine for images is gone with the unit, whatever it does then.
func TestDestroyDuringABuild(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		u.mustBuild()
		y.fault(faults.Fault{Kind: guests.BuildHangs})
		ended := make(chan error, 1)
		go func() {
			_, err := u.build()
			ended <- err
		}()
		y.wait(10 * time.Second)
		if all := u.list(); len(all) > 0 {
			t.Errorf("the machine for images is taken for %+v", all)
		}
		must(t, errors.Join(u.Destroy(y.Context()), u.Images().Retire(y.Context())))
		expect(t, <-ended, image.ErrGone)
		y.nothingLeft(u)
		if left := u.kept(); len(left) > 0 {
			t.Errorf("the images %v are left", left)
		}
	})
}

func TestWhatIsOnAConsole(t *testing.T) {
	for console, want := range map[string][2]string{
		"":                                     {},
		"image-progress upgrading":             {},
		"image-progress upgrading\n":           {"upgrading", ""},
		"login: image-progress a\r\nnoise\n":   {"a", ""},
		"image-progress a\nimage-progress b\n": {"b", ""},
		"image-progress a\nimage-progress b":   {"a", ""},
		"image-progress a\x1b[31mb\n":          {"a [31mb", ""},
		"noble login: image-result.json {\"a\":1}\r\n[  OK  ] Stopped\n":   {"", `{"a":1}`},
		"image-result.json {\"a\":":                                        {},
		"image-result.json x\n":                                            {},
		"image-progress " + strings.Repeat("é", maxProgress) + "\n":        {strings.Repeat("é", maxProgress/2), ""},
		"image-result.json {" + strings.Repeat("x", image.MaxFile) + "}\n": {},
	} {
		if got := [2]string{progressIn(console), string(resultIn(console))}; got != want {
			t.Errorf("of %.60q came %q, want %q", console, got, want)
		}
	}
}

func TestMachineForImagesIsNoRunner(t *testing.T) {
	c := &Cloud{config: Config{Owner: mine}}
	name := c.config.imageName()
	if mine.Owns(name) || mine.HasShape(name) || !strings.HasPrefix("^"+name, c.shape()) {
		t.Errorf("%s looks like a runner, or is not listed", name)
	}
	if got := c.kinship(server{Name: name, Metadata: map[string]string{runner.MarkModel: mine.ModelUUID, runner.MarkUnit: "app/2", keyImages: "true"}}); got != runner.KinStranger {
		t.Errorf("somebody else's server is %v", got)
	}
}
