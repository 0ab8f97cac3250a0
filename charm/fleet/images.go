package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/charm/lxd"
	"github-runner/charm/runner"
	"github-runner/charm/state"
)

// images makes runner images for one state: it implements unit.Images.
type images struct {
	lxd.Images
	state state.CharmState
	// application finds the runner application of today.
	application func(context.Context) (runner.Application, error)
}

// Due implements unit.Images.
func (i images) Due(ctx context.Context) (reason string, err error) {
	recipe, err := i.recipe(ctx)
	if err != nil {
		return "", err
	}
	return image.Due(ctx, i.Images, recipe, i.state.ImageLife, time.Now())
}

// Build implements unit.Images.
func (i images) Build(ctx context.Context, progress func(string)) (image.Built, error) {
	recipe, err := i.recipe(ctx)
	if err != nil {
		return image.Built{}, err
	}
	return image.Build(ctx, i.Images, recipe, progress)
}

// recipe is that of today, but for the base.
func (i images) recipe(ctx context.Context) (image.Recipe, error) {
	application, err := i.application(ctx)
	if err != nil {
		return image.Recipe{}, err
	}
	return image.Recipe{
		Application: application,
		YQ:          image.YQ(string(i.state.Arch)),
		Packages:    i.state.ImagePackages,
		Script:      i.state.ImageScript,
		// It has no aproxy, which comes with the image.
		Proxy:           cloudinit.Proxy(i.state.Proxies),
		ExchangeMounted: true,
	}, nil
}

// imageVariant tells images apart that units of one machine make by other options, or
// with the runner application of another GitHub; "" for what most have.
func imageVariant(s state.CharmState) string {
	inputs := struct {
		API      string
		Packages []string
		Script   string
	}{s.Scope.API, s.ImagePackages, s.ImageScript}
	if inputs.API == publicAPI {
		inputs.API = ""
	}
	if inputs.API == "" && len(inputs.Packages) == 0 && inputs.Script == "" {
		return ""
	}
	canonical, _ := json.Marshal(inputs)
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:4])
}

// publicAPI is GitHub's own.
const publicAPI = "https://api.github.com"
