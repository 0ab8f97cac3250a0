package lxd

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

func TestRunnersStartFromAnImageThatWasMade(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	var lines []string
	built, err := image.Build(t.Context(), cloud.Images(), emulatedRecipe(), func(line string) {
		lines = append(lines, line)
		if listed, err := cloud.List(t.Context()); err != nil || len(listed) > 0 {
			t.Errorf("runners while an image is made: %v, %v", listed, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(lines, "installing the runner application") {
		t.Errorf("progress: %q", lines)
	}
	nothingLeft(t, cloud, server)
	current, err := cloud.Images().Current(t.Context())
	if diff := cmp.Diff(image.Image{Fingerprint: built.Fingerprint, About: built.About}, current, cmp.Transformer("Second", func(at time.Time) int64 { return at.Unix() })); err != nil || diff != "" {
		t.Errorf("the image in use, %v (-want +got):\n%s", err, diff)
	}
	template, err := cloud.Prepare(t.Context(), hashWant())
	if err != nil || template.Image != built.Fingerprint {
		t.Fatalf("runners start from %q, %v", template.Image, err)
	}

	// The alias moves on between Prepare and Create.
	if err := cloud.Images().Use(t.Context(), madeImage(t, cloud, 1)); err != nil {
		t.Fatal(err)
	}
	birth := runner.Birth{Name: cloud.config.Owner.NewName(), Scope: hashWant().Scope, JIT: secret.New("jit")}
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	defer cloud.Delete(t.Context(), birth.Name)
	instance, _, err := server.GetInstance(birth.Name)
	if err != nil || instance.Config["volatile.base_image"] != built.Fingerprint || instance.Config[markPrefix+runner.MarkHash] != template.Hash {
		t.Errorf("the runner was made of %s, %v, not of %s", instance.Config["volatile.base_image"], err, built.Fingerprint)
	}
	if next, err := cloud.Prepare(t.Context(), hashWant()); err != nil || next.Hash == template.Hash {
		t.Errorf("another image makes the same template: %v", err)
	}
}

func TestAgeOfAnImage(t *testing.T) {
	for _, test := range []struct {
		days    float64
		current bool
		warning string
	}{
		{0, true, ""},
		{19.9, true, ""},
		{20.1, true, "the runner image was made 20 days ago, and GitHub refuses runner applications after about 30: juju run tests/0 build-image"},
		{27.9, true, "made 27 days ago"},
		{28.1, false, "made 28 days ago, and GitHub refuses runner applications after about 30: runners start from the stock image noble until there is a new one: juju run tests/0 build-image"},
	} {
		t.Run(fmt.Sprint(test.days), func(t *testing.T) {
			cloud, server, _ := imageCloud(t)
			stock, err := cloud.findStock(server, 1)
			if err != nil {
				t.Fatal(err)
			}
			want := stock
			made := madeImage(t, cloud, test.days)
			if test.current {
				want = made
			}
			if err := cloud.Images().Use(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			template, err := cloud.Prepare(t.Context(), hashWant())
			warnings := strings.Join(template.Warnings, "\n")
			if err != nil || template.Image != want || !strings.Contains(warnings, test.warning) || test.warning == "" && strings.Contains(warnings, "image") {
				t.Errorf("runners start from %s, not %s, with the warnings %q, %v", template.Image, want, warnings, err)
			}
			// Runners that exist are compared with the same image where no more are wanted.
			drained, err := cloud.Prepare(t.Context(), runner.Want{})
			if err != nil || drained.Image != want || len(drained.Warnings) > 0 {
				t.Errorf("drained: %+v, %v", drained, err)
			}
		})
	}
}

// What is named like an image that was made, and can't be started from.
func TestImagesThatAreOfNoUse(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"for the other kind":         func(c *Config) { c.InstanceType = VirtualMachine },
		"for another architecture":   func(c *Config) { c.Arch = "arm64" },
		"of another base, not there": func(c *Config) { c.ImageAlias = "jammy" },
	} {
		t.Run(name, func(t *testing.T) {
			cloud, server, _ := imageCloud(t)
			made := madeImage(t, cloud, 0)
			change(&cloud.config)
			if name != "of another base, not there" {
				if err := server.point(cloud.madeAlias(), made, ""); err != nil {
					t.Fatal(err)
				}
			}
			if found, err := cloud.findMade(server, cloud.madeAlias()); found != nil || err != nil {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	}
}

// Units that make other images of one stock image on one machine leave each other's
// alone, but for what is too old for anybody.
func TestVariantsOfAnImage(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	plain := madeImage(t, cloud, 1)
	if err := cloud.Images().Use(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	config := cloud.config
	config.Owner.Unit, config.ExchangeDir, config.ImageVariant = "tests/1", t.TempDir(), "0a1b2c3d"
	other, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Images().Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := other.Images().Current(t.Context()); err != nil || found.Fingerprint != "" {
		t.Errorf("a unit with other options has %+v, %v", found, err)
	}
	for may, want := range map[bool]string{false: stockOf(t, cloud), true: plain} {
		other.config.PlainImage = may
		if template, err := other.Prepare(t.Context(), hashWant()); err != nil || template.Image != want {
			t.Errorf("while it has none, its runners start from %s, %v, want %s", template.Image, err, want)
		}
	}
	rich := madeImage(t, other, 29)
	if err := other.Images().Use(t.Context(), rich); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		cloud *Cloud
		want  string
	}{{cloud, plain}, {other, rich}} {
		if found, err := one.cloud.Images().Current(t.Context()); err != nil || found.Fingerprint != one.want {
			t.Errorf("%s starts from %+v, %v, want %s", one.cloud.config.Owner.Unit, found, err, one.want)
		}
	}
	// The other's image is too old for its runners.
	if err := errors.Join(cloud.Images().Use(t.Context(), madeImage(t, cloud, 0)), cloud.Images().Clear(t.Context())); err != nil {
		t.Fatal(err)
	}
	if found, err := server.aliased(Container, other.madeAlias()); err != nil || found != "" {
		t.Errorf("the image that is too old stays as %q, %v", found, err)
	}
}

func stockOf(t *testing.T, cloud *Cloud) string {
	t.Helper()
	stock, err := cloud.Images().Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stock
}

// A virtual machine's image has the size of a disk, and none with a smaller one can be
// made of it.
func TestImageThatIsTooLargeForTheDisk(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	made := madeImage(t, cloud, 0)
	properties := cloud.properties(image.About{Recipe: "large"})
	properties[propertyDisk] = strconv.FormatInt(cloud.config.Disk+1, 10)
	if err := server.change(http.MethodPut, apiPath("images", made), api.ImagePut{Properties: properties}, ""); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Images().Use(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	for disk, want := range map[int64]string{cloud.config.Disk: "", cloud.config.Disk + 1: made} {
		cloud.config.Disk = disk
		if found, err := cloud.Images().Current(t.Context()); err != nil || found.Fingerprint != want {
			t.Errorf("with disks of %d bytes runners start from %q, %v, want %q", disk, found.Fingerprint, err, want)
		}
	}

	cloud.config.InstanceType = VirtualMachine
	cloud.config.Disk = 20 << 30
	if properties := cloud.properties(image.About{}); properties[propertyDisk] != "8589934592" {
		t.Errorf("an image for disks of 20 GiB is said to have %s bytes", properties[propertyDisk])
	}
	if root := cloud.rootDisk(cloud.config.imageDisk(), false); root["size"] != "8589934592B" {
		t.Errorf("the machine's disk has %s", root["size"])
	}
	cloud.config.Disk = 5 << 30
	if properties := cloud.properties(image.About{}); properties[propertyDisk] != "5368709120" {
		t.Errorf("an image for disks of 5 GiB is said to have %s bytes", properties[propertyDisk])
	}
	cloud.config.InstanceType = Container
	if properties := cloud.properties(image.About{}); properties[propertyDisk] != "" {
		t.Error("a container's image has a size")
	}
}
