package lxd

import (
	"errors"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
)

func TestRunnersStartFromTheImageThatWasSent(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	stock := stockOf(t, cloud)
	made := madeImage(t, cloud, 0)
	if err := cloud.Images().Use(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	jammy, err := server.aliased(Container, "jammy")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		sent SentImage
		want string
	}{
		"none":                          {SentImage{}, made},
		"an alias":                      {SentImage{Integrated: true, ID: "jammy"}, jammy},
		"a fingerprint":                 {SentImage{Integrated: true, ID: stock}, stock},
		"the beginning of one":          {SentImage{Integrated: true, ID: jammy[:12]}, jammy},
		"one that this charm has made":  {SentImage{Integrated: true, ID: made[:20]}, made},
		"by the alias that it has then": {SentImage{Integrated: true, ID: cloud.madeAlias()}, made},
	} {
		t.Run(name, func(t *testing.T) {
			cloud.config.Sent = test.sent
			template, err := cloud.Prepare(t.Context(), hashWant())
			if err != nil || template.Image != test.want || template.Hash == "" {
				t.Errorf("runners start from %s, %v, want %s", template.Image, err, test.want)
			}
		})
	}
}

func TestImageThatWasSentAndCannotBeUsed(t *testing.T) {
	const builder = "builder"
	cloud, server, _ := imageCloud(t)
	jammy, err := server.aliased(Container, "jammy")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		sent   SentImage
		change func(*Config)
		passes bool
		want   string
	}{
		"no unit yet": {SentImage{Integrated: true}, nil, true,
			"no image for the runners: the one that the other application sends by the relation image is not there yet"},
		"nothing sent yet": {SentImage{Integrated: true, Application: builder}, nil, true,
			"no image for the runners: the one that builder sends by the relation image is not there yet"},
		"nonsense": {SentImage{Integrated: true, Application: builder, Refused: true}, nil, false,
			"no image for the runners: what builder sends by the relation image is not accepted"},
		"an alias that is not there": {SentImage{Integrated: true, Application: builder, ID: "ours"}, nil, false,
			"LXD has none called ours, which builder sends by the relation image; on the unit's machine: lxc image copy REMOTE:ours local: --alias ours"},
		"a fingerprint that is not there": {SentImage{Integrated: true, Application: builder, ID: "0123456789ab"}, nil, false,
			"LXD has none called 0123456789ab, which builder sends by the relation image; on the unit's machine: lxc image copy REMOTE:0123456789ab local: --alias NAME"},
		"a beginning that is too short": {SentImage{Integrated: true, Application: builder, ID: jammy[:11]}, nil, false,
			"LXD has none called " + jammy[:11]},
		"for the other architecture": {SentImage{Integrated: true, Application: builder, ID: jammy}, func(c *Config) { c.Arch = otherArch(c.Arch) }, false,
			": send one that fits; on the unit's machine: lxc image copy REMOTE:IMAGE local: --alias NAME"},
		"for containers": {SentImage{Integrated: true, Application: builder, ID: "jammy"}, func(c *Config) { c.InstanceType = VirtualMachine }, false,
			"no image for the runners: jammy, which builder sends by the relation image, is for container, and the runners are virtual-machine: send one that fits; on the unit's machine: lxc image copy REMOTE:jammy local: --alias jammy --vm"},
	} {
		t.Run(name, func(t *testing.T) {
			config := cloud.config
			config.Sent = test.sent
			if test.change != nil {
				test.change(&config)
			}
			unit, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = unit.Prepare(t.Context(), hashWant())
			var trouble runner.Trouble
			if !errors.As(err, &trouble) || !strings.Contains(err.Error(), test.want) || errors.Is(err, runner.ErrPending) != test.passes {
				t.Errorf("got %v, want %q", err, test.want)
			}
			// Those that are there are looked after, and none is outdated.
			if drained, err := unit.Prepare(t.Context(), runner.Want{}); err != nil || drained.Hash != "" {
				t.Errorf("for no runners: %+v, %v", drained, err)
			}
		})
	}
}

func otherArch(arch string) string {
	if arch == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func TestImagesThatAnIDMayMean(t *testing.T) {
	image := func(digits, alias string) api.Image {
		found := api.Image{Fingerprint: digits + strings.Repeat("0", 64-len(digits))}
		if alias != "" {
			found.Aliases = []api.ImageAlias{{Name: alias}}
		}
		return found
	}
	one, other, third := image("abcabcabcabc1", ""), image("abcabcabcabc2", "b"), image("f", "abcabcabcabc2")
	images := []api.Image{one, other, third}
	for id, want := range map[string][]api.Image{
		"abcabcabcabc":    {one, other},
		"abcabcabcabc1":   {one},
		"abcabcabcabc2":   {third}, // as lxc has it
		"b":               {other},
		other.Fingerprint: {other},
		"abc":             nil,
		"ABCABCABCABC1":   nil,
	} {
		if diff := cmp.Diff(want, imagesCalled(images, id)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	cloud := &Cloud{config: Config{Sent: SentImage{Integrated: true, Application: "builder", ID: "abcabcabcabc"}}}
	if err := cloud.noSuchImage(2); !strings.Contains(err.Error(), "2 of LXD's images begin with abcabcabcabc, which builder sends by the relation image: send all of the fingerprint") {
		t.Errorf("got %v", err)
	}
}
