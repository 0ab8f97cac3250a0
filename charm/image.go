package charm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github-runner/charm/image"
	"github-runner/charm/unit"
)

// buildImage makes a runner image, lets runners start from it, and replaces idle ones
// that have an older one. The unit is nobody's while the image is made: that takes
// many minutes, and its runners are looked after all the while.
func (c *Charm) buildImage(ctx context.Context) error {
	var builder imageBuilder
	err := c.with(ctx, func(s *session) error {
		if err := s.usable(); err != nil {
			return err
		}
		var err error
		builder, err = s.imageBuilder(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer builder.fleet.Close()
	built, buildErr := builder.build(ctx)
	// However it went, the status is the runners' again.
	err = c.with(ctx, func(s *session) error { return s.adoptImage(ctx, built, buildErr) })
	return errors.Join(buildErr, err)
}

// imageBuilder makes an image for the state that a session had in force.
type imageBuilder struct {
	fleet    unit.Fleet
	progress func(string)
	// unready is why it can't.
	unready error
}

// imageBuilder gets ready what an image is made with.
func (s *session) imageBuilder(ctx context.Context) (imageBuilder, error) {
	fleet, err := s.appliedFleet(ctx)
	if err != nil {
		return imageBuilder{}, err
	}
	show := s.progress(ctx)
	progress := func(line string) {
		show("building the runner image: " + line)
		if err := s.Operator.ActionLog(ctx, line); err != nil {
			s.Log.WithError(err).Debug("progress could not be shown")
		}
	}
	return imageBuilder{fleet: fleet, progress: progress, unready: s.readyForImage(ctx, fleet)}, nil
}

func (s *session) readyForImage(ctx context.Context, fleet unit.Fleet) error {
	if fleet.Images == nil {
		return errors.New("this cloud makes no images")
	}
	if err := s.installHost(ctx, fleet); err != nil {
		return err
	}
	return fleet.Images.Ready(ctx)
}

func (b imageBuilder) build(ctx context.Context) (image.Built, error) {
	if b.unready != nil {
		return image.Built{}, b.unready
	}
	release, err := b.fleet.Images.Lock(ctx, func() { b.progress("waiting for another unit of this machine, which builds one") })
	if err != nil {
		return image.Built{}, err
	}
	defer release()
	return b.fleet.Images.Build(ctx, b.progress)
}

// adoptImage lets idle runners of another image go, and tells of the new one.
func (s *session) adoptImage(ctx context.Context, built image.Built, buildErr error) error {
	done, err := s.reconcile(ctx)
	if err != nil || buildErr != nil {
		return err
	}
	results := s.reconcileResults(done.Result)
	results["image"] = built.Fingerprint
	results["runner-version"] = built.RunnerVersion
	results["made"] = built.Made.Format(time.RFC3339)
	if len(built.Skipped) > 0 {
		results["skipped"] = strings.Join(built.Skipped, "; ")
	}
	warn(results, slices.Concat(s.warnings(), done.Warnings, s.serviceNotes))
	return errors.Join(done.trouble, s.Operator.SetActionResults(ctx, results))
}
