package charm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github-runner/charm/image"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
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
		if err := errors.Join(s.usable(), s.imageIsSent()); err != nil {
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
	if ctx.Err() != nil {
		return fmt.Errorf("called off (%w); the next hook shows how the runners are, and removes what is left", ctx.Err())
	}
	// However it went, the status is the runners' again.
	err = c.with(ctx, func(s *session) error { return s.afterImage(ctx, results, doErr == nil) })
	return errors.Join(doErr, err)
}

// imageIsSent is why the unit makes no image, where another application's is the one
// that runners start from.
func (s *session) imageIsSent() error {
	relation := s.wanted.ImageRelation
	if !relation.Integrated {
		return nil
	}
	return fmt.Errorf("this unit makes no image: the runners' comes from %s by the relation %s; ask for another there, or remove the relation", cmp.Or(relation.Application, "another application"), imageEndpoint)
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
	return imageBuilder{fleet: fleet, progress: progress, wanted: s.wanted.MakesImages()}, nil
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
	locking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	release, err := b.fleet.Images.Lock(locking, func() { cancel(errImageUnderWay) })
	if errors.Is(context.Cause(locking), errImageUnderWay) {
		return image.Built{}, errImageUnderWay
	}
	if err != nil {
		return image.Built{}, err
	}
	defer release()
	return b.fleet.Images.Build(ctx, b.progress)
}

// errImageUnderWay is why an action makes no image: it would wait for up to an hour.
var errImageUnderWay = errors.New("an image is being made already, by this unit's agent or by another unit of the machine: run the action again when it is done, or call the agent's off by image-interval=0")

// imageNote says that the agent can't make images; "" where it can.
func (s *session) imageNote() string {
	trouble := s.Past.ImageTrouble
	if trouble.Error == "" || !s.wanted.MakesImages() {
		return ""
	}
	return fmt.Sprintf("no runner image could be made since %s: %s", trouble.Since.UTC().Format("2 January 15:04 UTC"), oneLine(trouble.Error))
}

// afterImage lets idle runners of another image go, and tells what was done.
func (s *session) afterImage(ctx context.Context, results map[string]string, well bool) error {
	if none := (unitdir.ImageTrouble{}); well && s.Past.ImageTrouble != none {
		s.Past.ImageTrouble = none
		if err := s.Write(); err != nil {
			s.Log.WithError(err).Warn("that there is a runner image could not be written down")
		}
	}
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
