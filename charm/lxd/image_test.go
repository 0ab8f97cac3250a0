package lxd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
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
	emulation "github-runner/lab/lxd"
)

// imageCloud is a cloud on an emulated daemon that can make images.
func imageCloud(t *testing.T) (*Cloud, server, *emulation.Control) {
	t.Helper()
	cloud, server, control := emulatedCloud(t, func(c *Config) { c.ImageLock, c.Arch = t.TempDir(), runtime.GOARCH })
	if err := cloud.Images().Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cloud, server, control
}

func emulatedRecipe() image.Recipe {
	return image.Recipe{
		Application:     runner.Application{Version: "2.999.1", URL: "https://example.com/runner", SHA256: strings.Repeat("0", 64)},
		YQ:              image.YQ("amd64"),
		ExchangeMounted: true,
	}
}

// madeImage is an image of a machine that did its work, made some days ago.
func madeImage(t *testing.T, cloud *Cloud, days float64) string {
	t.Helper()
	stock, err := cloud.Images().Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	userData, err := emulatedRecipe().UserData()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Images().Run(t.Context(), stock, userData, func(string) {}); err != nil {
		t.Fatal(err)
	}
	made := time.Now().Add(-time.Duration(days * 24 * float64(time.Hour)))
	fingerprint, err := cloud.Images().Publish(t.Context(), image.About{Recipe: fmt.Sprint(days), Base: stock, RunnerVersion: "2.999.1", Made: made})
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Images().Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	return fingerprint
}

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
	if err != nil || instance.Config["volatile.base_image"] != built.Fingerprint || instance.Config[keyHash] != template.Hash {
		t.Errorf("the runner was made of %s, %v, not of %s", instance.Config["volatile.base_image"], err, built.Fingerprint)
	}
	if next, err := cloud.Prepare(t.Context(), hashWant()); err != nil || next.Hash == template.Hash {
		t.Errorf("another image makes the same template: %v", err)
	}
}

func TestMachineForImagesIsNoRunner(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	name := cloud.config.imageMachine()
	machine := api.Instance{Name: name, Config: map[string]string{keyModel: cloud.config.Owner.ModelUUID, keyUnit: cloud.config.Owner.Unit}}
	if !cloud.isImageMachine(machine) || cloud.kinship(machine) != stranger || cloud.config.Owner.Owns(name) || cloud.config.Owner.HasShape(name) || isFormer(machine) {
		t.Errorf("%s looks like a runner", name)
	}
	if cloud.isImageMachine(api.Instance{Name: name}) {
		t.Error("somebody else's instance looks like the unit's")
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

// The images that there are after Use, whatever an earlier one that was killed left.
func TestUse(t *testing.T) {
	for name, test := range map[string]struct {
		// aliases are what main and previous are, by number, before; 0: none.
		main, previous int
		want           map[string]int
	}{
		"the first":                     {0, 0, map[string]int{"": 4}},
		"the second":                    {1, 0, map[string]int{"": 4, previousSuffix: 1}},
		"the third":                     {2, 1, map[string]int{"": 4, previousSuffix: 2}},
		"killed when it had one alias":  {2, 2, map[string]int{"": 4, previousSuffix: 2}},
		"killed before it was told so":  {4, 2, map[string]int{"": 4, previousSuffix: 2}},
		"back to the one before":        {2, 4, map[string]int{"": 4, previousSuffix: 2}},
		"the one in use was deleted":    {0, 2, map[string]int{"": 4, previousSuffix: 2}},
		"again, and there was no other": {4, 0, map[string]int{"": 4}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud, server, _ := imageCloud(t)
			var made [5]string
			for i := range made[1:] {
				made[i+1] = madeImage(t, cloud, float64(i))
			}
			alias := cloud.madeAlias()
			for suffix, number := range map[string]int{"": test.main, previousSuffix: test.previous} {
				if number == 0 {
					continue
				}
				if err := server.point(alias+suffix, made[number], ""); err != nil {
					t.Fatal(err)
				}
			}
			// The operator's own name for one of them.
			if err := server.point("kept", made[3], ""); err != nil {
				t.Fatal(err)
			}
			stocks := countOf(t, server.GetImages) - 4
			if err := cloud.Images().Use(t.Context(), made[4]); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"kept": made[3]}
			for suffix, number := range test.want {
				want[alias+suffix] = made[number]
			}
			images, err := server.GetImages()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, one := range images {
				for _, other := range one.Aliases {
					if one.Properties[propertyRecipe] != "" {
						got[other.Name] = one.Fingerprint
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("aliases (-want +got):\n%s", diff)
			}
			left := slices.Collect(maps.Values(want))
			slices.Sort(left)
			if have, wanted := len(images)-stocks, len(slices.Compact(left)); have != wanted {
				t.Errorf("%d images that were made are there, want %d", have, wanted)
			}
		})
	}
}

func TestOnlyImagesThatWereMadeAreDeleted(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	stock, err := cloud.Images().Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Images().Delete(t.Context(), stock); err == nil {
		t.Error("the stock image was deleted")
	}
	made := madeImage(t, cloud, 0)
	for range 2 {
		if err := cloud.Images().Delete(t.Context(), made); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := server.GetImage(made); !errors.Is(classify(err), runner.ErrNotFound) {
		t.Errorf("the image that was made: %v", err)
	}
}

func TestPublishFallsBack(t *testing.T) {
	cloud, _, control := imageCloud(t)
	fault := emulation.Fault{Kind: emulation.CallFails, Name: "POST /1.0/images", Count: 1, Status: http.StatusBadRequest, Message: `Invalid compression algorithm "zstd"`}
	if _, err := control.AddFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	madeImage(t, cloud, 0)
}

func TestPublishWithoutRoom(t *testing.T) {
	cloud, server, control := imageCloud(t)
	if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: emulation.PublishFails}); err != nil {
		t.Fatal(err)
	}
	_, err := image.Build(t.Context(), cloud.Images(), emulatedRecipe(), func(string) {})
	var trouble runner.Trouble
	if !errors.As(err, &trouble) || !strings.Contains(trouble.Advice, "make room on the machine's disk") {
		t.Errorf("an image without room: %v", err)
	}
	nothingLeft(t, cloud, server)
}

func TestMachineThatEndsEarly(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Cloud, server){
		"it is deleted": func(t *testing.T, cloud *Cloud, _ server) {
			if err := cloud.Images().Clear(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"it loses its power": func(t *testing.T, cloud *Cloud, server server) {
			if err := server.power(cloud.config.imageMachine(), "stop"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud, server, control := imageCloud(t)
			if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: emulation.BuildHangs}); err != nil {
				t.Fatal(err)
			}
			begun := false
			_, err := image.Build(t.Context(), cloud.Images(), emulatedRecipe(), func(line string) {
				if line == "installing packages" && !begun {
					begun = true
					end(t, cloud, server)
				}
			})
			if !errors.Is(err, image.ErrGone) {
				t.Errorf("the error is %v", err)
			}
			nothingLeft(t, cloud, server)
		})
	}
}

func TestMachineThatHangs(t *testing.T) {
	cloud, server, control := imageCloud(t)
	if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: emulation.BuildHangs}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := image.Build(ctx, cloud.Images(), emulatedRecipe(), func(line string) {
		if line == "installing packages" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	nothingLeft(t, cloud, server)
}

// What a build that was killed left goes when nobody builds any more, and only then.
func TestLeftoversOfAKilledBuild(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	madeImage(t, cloud, 0) // nobody's: it was not tried yet
	images := countOf(t, server.GetImages)
	stock, err := cloud.Images().Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Images().start(t.Context(), stock, []byte("#cloud-config\n")); err != nil {
		t.Fatal(err)
	}
	release, err := cloud.Images().Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	prepare := func() {
		t.Helper()
		if _, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil {
			t.Fatal(err)
		}
	}
	prepare()
	if _, _, err := server.GetInstance(cloud.config.imageMachine()); err != nil || countOf(t, server.GetImages) != images {
		t.Errorf("what somebody works at is gone: %v", err)
	}
	release()
	prepare()
	nothingLeft(t, cloud, server)
	if left := countOf(t, server.GetImages); left != images-1 {
		t.Errorf("%d images are left, want %d", left, images-1)
	}
}

// Runners can be made whatever is wrong with what a build left.
func TestLeftoversThatCannotBeRemoved(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	request := api.InstancesPost{Name: cloud.config.imageMachine(), Type: Container, Source: api.InstanceSource{Type: "none"}, InstancePut: api.InstancePut{Profiles: []string{cloud.profileName(false)}}}
	if err := server.change(http.MethodPost, "/instances", request, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.exchange(cloud.config.imageMachine()).make(); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Prepare(t.Context(), runner.Want{Count: 1}); err != nil {
		t.Error(err)
	}
	if _, _, err := server.GetInstance(cloud.config.imageMachine()); err != nil {
		t.Errorf("somebody else's instance: %v", err)
	}
	if err := cloud.exchange(cloud.config.imageMachine()).remove(); err != nil {
		t.Error(err)
	}
}

func TestReadyMakesWhatOneMachineNeeds(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	if _, _, err := server.GetNetworkACL(cloud.config.unitName()); err != nil {
		t.Error(err)
	}
	if _, _, err := server.GetStoragePool(sharedPool); err != nil {
		t.Error(err)
	}
	profiles, err := server.GetProfiles()
	if err != nil || !slices.ContainsFunc(profiles, func(p api.Profile) bool { return p.Name == cloud.profileName(false) }) {
		t.Errorf("profiles %+v, %v", profiles, err)
	}
}

func TestDestroyAndTheMachinesOtherUnits(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	made := madeImage(t, cloud, 0)
	if err := cloud.Images().Use(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	stocks := countOf(t, server.GetImages) - 1
	config := cloud.config
	config.Owner.Unit, config.ExchangeDir = "tests/1", t.TempDir()
	other, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Images().Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One dies while it makes an image.
	if err := cloud.Images().start(t.Context(), made, []byte("#cloud-config\n")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cloud.Destroy(t.Context()), cloud.Images().Retire(t.Context())); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, cloud, server)
	if template, err := other.Prepare(t.Context(), hashWant()); err != nil || template.Image != made {
		t.Errorf("the other unit's runners start from %s, %v", template.Image, err)
	}
	// Its storage may be detached: the unit lives on, and so does what it made.
	if err := other.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := countOf(t, server.GetImages); left != stocks+1 {
		t.Errorf("%d images are left without the unit's leaving, want one beside the %d stock images", left, stocks)
	}
	if err := other.Images().Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := countOf(t, server.GetImages); left != stocks {
		t.Errorf("%d images are left, want the %d stock images", left, stocks)
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
	if err := cloud.Images().Use(t.Context(), madeImage(t, cloud, 0)); err != nil {
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

func TestProgressIsOneShortLine(t *testing.T) {
	e := exchange{root: t.TempDir(), name: "machine"}
	if err := os.Mkdir(e.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if line := e.progress(); line != "" {
		t.Errorf("without a file: %q", line)
	}
	for content, want := range map[string]string{
		"installing\n":                       "installing",
		"a\x1b[31mb\nsecond\n":               "a [31mb",
		strings.Repeat("é", maxProgress):     strings.Repeat("é", maxProgress/2),
		strings.Repeat("x", 2*maxProgress):   strings.Repeat("x", maxProgress),
		strings.Repeat("x", image.MaxFile+1): "",
	} {
		if err := os.WriteFile(e.path()+"/"+image.ProgressFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if line := e.progress(); line != want {
			t.Errorf("of %.20q came %q", content, line)
		}
	}
}
