package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// How long the steps of a build may take.
const (
	// buildLimit is for a slow archive and a slow line.
	buildLimit = time.Hour
	// trialLimit is the time to boot, with a margin.
	trialLimit = 15 * time.Minute
	clearLimit = 2 * time.Minute
	// hastyLimit is for what is removed by a process that was asked to end.
	hastyLimit = 3 * time.Second
)

// Built is an image that runners start from, and how it was made.
type Built struct {
	Image
	// Skipped is what the image lacks that could not be had on its base.
	Skipped []string
}

// Build makes an image by a recipe, tries it, and makes runners start from it. The
// recipe's base is filled in. Progress gets a line for each thing that is begun. After
// a failure the image in use is what it was, and nothing is left of the attempt but
// what could not be removed, which the cloud takes for leftovers.
func Build(ctx context.Context, cloud Cloud, recipe Recipe, progress func(string)) (Built, error) {
	built, err := build(ctx, cloud, recipe, progress)
	limit := clearLimit
	if ctx.Err() != nil {
		limit = hastyLimit
	}
	clearing, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	cleared := cloud.Clear(clearing)
	if err == nil {
		if cleared != nil {
			progress("the image is in use, but what it was made with stays for now: " + cleared.Error())
		}
		return built, nil
	}
	return Built{}, errors.Join(fmt.Errorf("cannot build the image: %w", err), cleared)
}

// build is Build without what has to be done however it ends.
func build(ctx context.Context, cloud Cloud, recipe Recipe, progress func(string)) (Built, error) {
	var err error
	if recipe.Base, err = cloud.Stock(ctx); err != nil {
		return Built{}, err
	}
	progress("starting a machine from the stock image")
	userData, err := recipe.UserData()
	if err != nil {
		return Built{}, err
	}
	made, err := run(ctx, cloud, buildLimit, recipe.Base, userData, progress)
	if err != nil {
		return Built{}, err
	}
	built := Built{Image: Image{About: recipe.about(time.Now())}, Skipped: made.Skipped}
	progress("making an image of the machine")
	if built.Fingerprint, err = cloud.Publish(ctx, built.About); err != nil {
		return Built{}, err
	}
	if err := try(ctx, cloud, recipe, built.Fingerprint, progress); err != nil {
		return Built{}, err
	}
	return built, use(ctx, cloud, built.Fingerprint)
}

// use makes runners start from an image. Where an answer was lost, whether they do
// decides: an image that is in use must not be deleted.
func use(ctx context.Context, cloud Cloud, fingerprint string) error {
	err := cloud.Use(ctx, fingerprint)
	if err == nil {
		return nil
	}
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), hastyLimit)
	defer cancel()
	if current, lookErr := cloud.Current(looking); lookErr == nil && current.Fingerprint == fingerprint {
		return nil
	}
	return err
}

// try starts a machine from an image and looks whether a runner could work in it.
func try(ctx context.Context, cloud Cloud, recipe Recipe, fingerprint string, progress func(string)) error {
	progress("starting a machine from the new image")
	userData, err := recipe.TrialUserData()
	if err != nil {
		return err
	}
	shown, err := run(ctx, cloud, trialLimit, fingerprint, userData, progress)
	if err != nil {
		return fmt.Errorf("the new image does not work: %w", err)
	}
	if shown.RunnerVersion != recipe.Application.Version {
		return fmt.Errorf("the new image does not work: its runner application says that it is %q, not %q", shown.RunnerVersion, recipe.Application.Version)
	}
	return nil
}

// run takes a machine from its start to its power-off.
func run(ctx context.Context, cloud Cloud, limit time.Duration, image string, userData []byte, progress func(string)) (Result, error) {
	working, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the machine had not done its work within %v", limit))
	defer cancel()
	left, err := cloud.Run(working, image, userData, progress)
	if working.Err() != nil && ctx.Err() == nil {
		return Result{}, errors.Join(context.Cause(working), err)
	}
	if err != nil {
		return Result{}, err
	}
	return parseResult(left)
}

// parseResult reads what a machine says of its work, which is a guest's word.
func parseResult(left []byte) (Result, error) {
	var result Result
	if err := json.Unmarshal(left, &result); err != nil {
		return Result{}, fmt.Errorf("the machine left a result that can't be read: %w", err)
	}
	if result.Error != "" {
		return Result{}, errors.New(printable(result.Error))
	}
	for i, skipped := range result.Skipped {
		result.Skipped[i] = printable(skipped)
	}
	return result, nil
}

// printable is a text of a guest's as one line that a terminal may show.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
