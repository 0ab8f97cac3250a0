package lxd

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"

	"github-runner/charm/image"
	"github-runner/charm/runner"
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
	if err := cloud.Images().clearMachine(t.Context()); err != nil {
		t.Fatal(err)
	}
	return fingerprint
}

// The images that there are after Use and Clear, whatever an earlier one that was killed left.
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
			if err := errors.Join(cloud.Images().Use(t.Context(), made[4]), cloud.Images().Clear(t.Context())); err != nil {
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

// What a build has made that is not in use goes with its machine, and nothing else.
func TestClearDeletesWhatIsNotInUse(t *testing.T) {
	cloud, server, _ := imageCloud(t)
	stock, err := cloud.Images().Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made := madeImage(t, cloud, 0)
	if err := cloud.Images().clearMachine(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.GetImage(made); err != nil {
		t.Errorf("the image is gone though another unit may try it: %v", err)
	}
	for range 2 {
		if err := cloud.Images().Clear(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := server.GetImage(made); !errors.Is(classify(err), runner.ErrNotFound) {
		t.Errorf("the image that was made: %v", err)
	}
	if _, _, err := server.GetImage(stock); err != nil {
		t.Errorf("the stock image: %v", err)
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
