package charm

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github-runner/charm/image"
	"github-runner/charm/unit"
)

// buildImage makes a runner image, lets runners start from it, and replaces idle ones
// that have an older one.
func (c *Charm) buildImage(ctx context.Context) error {
	return c.withImages(ctx, func(b imageBuilder) (map[string]string, error) {
		built, err := b.build(ctx)
		return describe(built), err
	})
}

// updateDependencies makes a runner image where what it is made of is not that of
// today, as the action of the Python charm did for what runners depended on.
func (c *Charm) updateDependencies(ctx context.Context) error {
	return c.withImages(ctx, func(b imageBuilder) (map[string]string, error) {
		before, err := b.fleet.Images.Current(ctx)
		if err != nil {
			return nil, err
		}
		results := map[string]string{"runner-version-before": before.RunnerVersion}
		due := ""
		// Where none is in use, and none is to be made, each runner gets the
		// application of the day when it starts.
		if before.Fingerprint != "" || b.wanted {
			due, err = b.fleet.Images.Due(ctx)
		}
		results["flush"] = pythonBool(due != "")
		if err != nil || due == "" {
			results["runner-version"] = before.RunnerVersion
			return results, err
		}
		b.progress("a new image is made: " + due)
		built, err := b.build(ctx)
		for key, value := range describe(built) {
			results[key] = value
		}
		return results, err
	})
}

// pythonBool is a truth as the Python charm's results have it.
func pythonBool(truth bool) string {
	text := strconv.FormatBool(truth)
	return strings.ToUpper(text[:1]) + text[1:]
}

// describe is what results say of an image.
func describe(built image.Built) map[string]string {
	results := map[string]string{
		"image": built.Fingerprint, "runner-version": built.RunnerVersion, "made": built.Made.Format(time.RFC3339),
	}
	if len(built.Skipped) > 0 {
		results["skipped"] = strings.Join(built.Skipped, "; ")
	}
	return results
}

// imageBuilder makes an image for the state that a session had in force.
type imageBuilder struct {
	fleet    unit.Fleet
	progress func(string)
	// wanted is set where the unit makes images by itself.
	wanted bool
}

// withImages lets an action make images, shows its results and how the unit is
// afterwards. The unit is nobody's while do runs: an image takes many minutes, and the
// runners are looked after all the while.
func (c *Charm) withImages(ctx context.Context, do func(imageBuilder) (map[string]string, error)) error {
	var builder imageBuilder
	var unready error
	err := c.with(ctx, func(s *session) error {
		if err := s.usable(); err != nil {
			return err
		}
		var err error
		builder, err = s.imageBuilder(ctx)
		if err == nil {
			unready = s.readyForImage(ctx, builder.fleet)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer builder.fleet.Close()
	results, doErr := map[string]string(nil), unready
	if unready == nil {
		results, doErr = do(builder)
	}
	// However it went, the status is the runners' again.
	err = c.with(ctx, func(s *session) error { return s.afterImage(ctx, results, doErr == nil) })
	return errors.Join(doErr, err)
}

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
	return imageBuilder{fleet: fleet, progress: progress, wanted: s.wanted.ImageLife > 0}, nil
}

// readyForImage gets ready what an image is made with.
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
	release, err := b.fleet.Images.Lock(ctx, func() { b.progress("waiting for another unit of this machine, which makes one") })
	if err != nil {
		return image.Built{}, err
	}
	defer release()
	return b.fleet.Images.Build(ctx, b.progress)
}

// afterImage lets idle runners of another image go, and tells what was done.
func (s *session) afterImage(ctx context.Context, results map[string]string, well bool) error {
	done, err := s.reconcile(ctx)
	if err != nil || !well {
		return err
	}
	for key, value := range s.reconcileResults(done.Result) {
		results[key] = value
	}
	warn(results, slices.Concat(s.warnings(), done.Warnings, s.serviceNotes))
	return errors.Join(done.trouble, s.Operator.SetActionResults(ctx, results))
}
