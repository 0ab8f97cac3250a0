package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/github"
	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/state"
)

// imageCloud is where images are made: that of one of the clouds.
type imageCloud interface {
	image.Cloud
	Ready(ctx context.Context) error
	Lock(ctx context.Context, waiting func()) (release func(), err error)
	Retire(ctx context.Context) error
}

// images makes runner images for one state: it implements unit.Images.
type images struct {
	imageCloud
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
	return image.Due(ctx, i.imageCloud, recipe, i.state.ImageLife, time.Now())
}

// Build implements unit.Images.
func (i images) Build(ctx context.Context, progress func(string)) (image.Built, error) {
	recipe, err := i.recipe(ctx)
	if err != nil {
		return image.Built{}, err
	}
	return image.Build(ctx, i.imageCloud, recipe, progress)
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
		ExchangeMounted: !i.state.OnOpenStack(),
	}, nil
}

// applicationFor finds the runner application of a state by a client that need not
// hold the unit.
func applicationFor(s state.CharmState, client *github.Client) func(context.Context) (runner.Application, error) {
	return func(ctx context.Context) (runner.Application, error) {
		return client.Application(ctx, s.Scope, s.Arch.Label())
	}
}

// imageVariant tells the image of an application with options for it, or with another
// GitHub and so another runner application, apart from the plain one; "" for that. It
// does not depend on what the options are: while an image is made by new ones, runners
// start from that of the old ones.
func imageVariant(s state.CharmState, app string) string {
	if isPublic(s) && !s.ImageSource.Named && len(s.ImagePackages) == 0 && s.ImageScript == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Owner.ModelUUID + "\x00" + app + named(s.ImageSource)))
	return hex.EncodeToString(sum[:4])
}

// named is what tells the images of a source that was named apart: runners start from no
// image of another.
func named(source state.ImageSource) string {
	if !source.Named {
		return ""
	}
	return "\x00" + source.Server + "\x00" + source.Alias
}

// isPublic reports whether the runners are GitHub's own service's.
func isPublic(s state.CharmState) bool {
	return s.Scope.API == "https://api.github.com"
}
