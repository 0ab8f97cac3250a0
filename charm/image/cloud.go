package image

import (
	"context"
	"errors"
	"time"
)

// ErrGone is the error of a machine that vanished, or lost its power, before it had
// done its work.
var ErrGone = errors.New("the machine has ended without a word")

// Cloud is where images are made and kept. At most one machine for images is there
// at a time; its owner is the unit.
type Cloud interface {
	// Stock returns the fingerprint of the stock image: what a recipe begins with.
	Stock(ctx context.Context) (string, error)
	// Run starts a machine from an image with user-data, in place of one that is there,
	// and waits until it has switched itself off, or ctx ends. Progress gets the lines of
	// ProgressFile as they change. It returns the content of ResultFile; ErrGone where the machine
	// left none, with the last lines that it printed in the error. The machine stays
	// until Clear, switched off.
	Run(ctx context.Context, image string, userData []byte, progress func(string)) ([]byte, error)
	// Publish makes an image of the machine and returns its fingerprint.
	Publish(ctx context.Context, about About) (string, error)
	// Clear removes the machine, all that it left, and the images that Publish made and
	// that are not in use, but for the one before; nil where there is none. What it can't
	// remove now is found by whoever looks for leftovers.
	Clear(ctx context.Context) error
	// Current returns the image that was put in the stock image's place; one without a
	// fingerprint where there is none, and without a recipe where Publish did not make
	// it.
	Current(ctx context.Context) (Image, error)
	// Use makes runners start from an image that Publish made, from now on. The one
	// before is kept, for a way back.
	Use(ctx context.Context, fingerprint string) error
}

// Image is one that Publish made.
type Image struct {
	Fingerprint string
	About
}

// About is what is known of an image, and kept with it.
type About struct {
	// Recipe is the hash of the recipe that it was made by.
	Recipe string
	// Base is the fingerprint of the stock image that it was made from.
	Base string
	// RunnerVersion is the version of the runner application in it.
	RunnerVersion string
	// Made is when it was made, in UTC.
	Made time.Time
}

// Files that a machine leaves in the exchange folder, at most MaxFile bytes each. Where
// that is no mount point, it prints them on its console instead, each as a line: the
// file's name, a space, the content.
const (
	// ProgressFile is one line about what the machine does just now. It is replaced
	// as a whole.
	ProgressFile = "image-progress"
	// ResultFile is a Result in JSON, written at the machine's end.
	ResultFile = "image-result.json"
	// MaxFile bounds both, in bytes.
	MaxFile = 16 << 10
)

// Result is what a machine says of its work.
type Result struct {
	// Error is why it failed, in a line; "" where it did not.
	Error string `json:"error,omitempty"`
	// RunnerVersion is what the runner application says of itself.
	RunnerVersion string `json:"runner-version,omitempty"`
	// Skipped is what the image lacks that could not be had on its base.
	Skipped []string `json:"skipped,omitempty"`
}

// FactsPath is where a machine for images, and an image that was made, has what it
// is made of, as Facts in JSON.
const FactsPath = "/etc/github-runner-image.json"

// Facts are what a machine for images is told.
type Facts struct {
	// Trial is set where the machine only shows that its image works.
	Trial         bool     `json:"trial,omitempty"`
	Recipe        string   `json:"recipe,omitempty"`
	RunnerVersion string   `json:"runner-version"`
	Packages      []string `json:"packages,omitempty"`
}
