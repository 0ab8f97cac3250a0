package fleet

import (
	"context"
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
