package lxd

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	emulation "github-runner/lab/lxd"
)

func TestMachineForImagesIsNoRunner(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	name := cloud.config.imageMachine()
	machine := api.Instance{Name: name, Config: map[string]string{keyModel: cloud.config.Owner.ModelUUID, keyUnit: cloud.config.Owner.Unit}}
	if !cloud.isImageMachine(machine) || cloud.kinship(machine) != runner.KinStranger || cloud.config.Owner.Owns(name) || cloud.config.Owner.HasShape(name) || isFormer(machine) {
		t.Errorf("%s looks like a runner", name)
	}
	if cloud.isImageMachine(api.Instance{Name: name}) {
		t.Error("somebody else's instance looks like the unit's")
	}
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
	request := emptyInstance(cloud, cloud.config.imageMachine(), nil)
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
