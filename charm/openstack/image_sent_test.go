package openstack

import (
	"errors"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/runner"
	"github-runner/lab/openstack"
)

// upload makes an image that somebody of the project has, and returns its ID.
func (u *unit) upload(options images.CreateOpts) string {
	u.yard.Helper()
	ctx, in := u.yard.Context(), u.services()
	options.DiskFormat, options.ContainerFormat = "qcow2", "bare"
	made, err := images.Create(ctx, in.image, options).Extract()
	must(u.yard.T, err)
	must(u.yard.T, imagedata.Upload(ctx, in.image, made.ID, strings.NewReader("a disk")).ExtractErr())
	return made.ID
}

func TestRunnersStartFromTheImageThatWasSent(t *testing.T) {
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.builder(mine)
		made := u.mustBuild()
		golden := u.upload(images.CreateOpts{Name: "golden", Properties: map[string]string{"architecture": "x86_64"}})
		before := u.prepare(1)
		for id, want := range map[string]string{golden: golden, "golden": golden, made: made, u.config.imageName(): made} {
			sent := y.unit(mine, func(c *Config) {
				c.Keys, c.Arch, c.Sent = u.config.Keys, "amd64", SentImage{Integrated: true, ID: id}
			}).prepare(1)
			if sent.Image != want || (sent.Hash == before.Hash) != (want == made) {
				t.Errorf("of %s runners start by %+v, want %s", id, sent, want)
			}
		}
	})
}

func TestImageThatWasSentAndCannotBeUsed(t *testing.T) {
	const absent = "00000000-0000-4000-8000-000000000001"
	inYard(t, openstack.Options{}, func(y *yard) {
		u := y.unit(mine)
		queued, err := images.Create(y.Context(), u.services().image, images.CreateOpts{Name: "queued"}).Extract()
		must(t, err)
		u.upload(images.CreateOpts{Name: "twin"})
		u.upload(images.CreateOpts{Name: "twin"})
		u.upload(images.CreateOpts{Name: "arm", Properties: map[string]string{"architecture": "aarch64"}})
		for name, test := range map[string]struct {
			sent   SentImage
			passes bool
			want   string
		}{
			"no unit yet": {SentImage{}, true,
				"no image for the runners: the one that the other application sends by the relation image is not there yet"},
			"nothing sent yet": {SentImage{Application: "builder"}, true,
				"no image for the runners: the one that builder sends by the relation image is not there yet"},
			"nonsense": {SentImage{Application: "builder", Refused: true}, false,
				"no image for the runners: what builder sends by the relation image is not accepted"},
			"one that is not there": {SentImage{Application: "builder", ID: absent}, false,
				"OpenStack has none called " + absent + " that the project sees, which builder sends by the relation image: share it with the project, or send another"},
			"one of others": {SentImage{Application: "builder", ID: "appliance"}, false, "OpenStack has none called appliance"},
			"one that is made still": {SentImage{Application: "builder", ID: queued.ID}, true,
				queued.ID + ", which builder sends by the relation image, is not there yet: its status is queued"},
			"a name of two": {SentImage{Application: "builder", ID: "twin"}, false,
				"OpenStack has 2 images called twin, which builder sends by the relation image: send an ID"},
			"another architecture": {SentImage{Application: "builder", ID: "arm"}, false,
				"arm, which builder sends by the relation image, is for aarch64, and the runners are amd64: send one that fits"},
		} {
			test.sent.Integrated = true
			u := y.unit(mine, func(c *Config) { c.Arch, c.Sent = "amd64", test.sent })
			_, err := u.Prepare(y.Context(), want(1))
			var trouble runner.Trouble
			if !errors.As(err, &trouble) || !strings.Contains(err.Error(), test.want) || errors.Is(err, runner.ErrPending) != test.passes {
				t.Errorf("%s: got %v, want %q", name, err, test.want)
			}
			// Those that are there are looked after, and none is outdated.
			if drained, err := u.Prepare(y.Context(), want(0)); err != nil || drained.Hash != "" {
				t.Errorf("%s: for no runners: %+v, %v", name, drained, err)
			}
		}
	})
}
