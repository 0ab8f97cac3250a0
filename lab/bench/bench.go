// Package bench measures the charm: how soon wanted containers are online and
// wanted servers ordered, what runner images save, what a reconcile costs that
// finds nothing to do, and what update-status costs.
//
// It runs the charm's own program as Juju would, with hook tools of its own, and
// compares it with a floor that is measured in the same run: times differ from
// one machine to the next, the ratio hardly does. No time makes anything fail.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github-runner/lab/image"
)

// Options are what is measured, and where.
type Options struct {
	// Benchmarks are names out of Names; none are all.
	Benchmarks []string
	// Cloud is lab.CloudAuto, lab.CloudLXD or lab.CloudEmulated. Only the
	// benchmark of containers and update-status need a real one; a thousand
	// runners and OpenStack are always emulated.
	Cloud string
	// Dir is the directory of a lab with real LXD: one that runs there is used
	// and left running, else one is brought up for as long as this takes.
	Dir string
	// Rounds is how often each case is measured.
	Rounds int
	// Sizes replaces the numbers of runners that are measured; none are the
	// benchmark's own.
	Sizes []int
	// Charm is the path of the charm's program, Lab that of the lab's.
	Charm, Lab string
	// Images builds the image of a real cloud.
	Images image.Builder
	// Progress gets lines for a person to read.
	Progress io.Writer
}

// benchmark is one row of the table of what can be measured.
type benchmark struct {
	name string
	run  func(*session, context.Context) ([]Result, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{"containers", (*session).containers},
		{"isolation", (*session).isolation},
		{"refill", (*session).refill},
		{"images", (*session).images},
		{"reconcile", (*session).reconcile},
		{"agent", (*session).agent},
		{"update-status", (*session).updateStatus},
		{"openstack", (*session).onOpenStack},
	}
}

// Names are what can be measured.
func Names() []string {
	var names []string
	for _, b := range benchmarks() {
		names = append(names, b.name)
	}
	return names
}

// Run measures and returns the figures of every benchmark that could be run to
// its end, also beside an error.
func Run(ctx context.Context, options Options) (report Report, err error) {
	for _, name := range options.Benchmarks {
		if !slices.Contains(Names(), name) {
			return Report{}, fmt.Errorf("cannot measure %q: choose from %s", name, strings.Join(Names(), ", "))
		}
	}
	if options.Rounds < 1 {
		return Report{}, fmt.Errorf("cannot measure %d rounds: one is the least", options.Rounds)
	}
	if err := becomeSubreaper(); err != nil {
		return Report{}, err
	}
	s := &session{Options: options, began: time.Now()}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	s.report.Machine = describeMachine()
	for _, b := range benchmarks() {
		if len(options.Benchmarks) > 0 && !slices.Contains(options.Benchmarks, b.name) {
			continue
		}
		results, err := b.run(s, ctx)
		s.report.Results = append(s.report.Results, results...)
		if err != nil {
			return s.report, fmt.Errorf("cannot measure %s: %w", b.name, err)
		}
	}
	return s.report, nil
}

// session is one run of benchmarks.
type session struct {
	Options
	began  time.Time
	report Report
	// chosen is the stage on the chosen cloud; nil until it is needed.
	chosen *stage
}

func (s *session) sizes(own ...int) []int {
	if len(s.Sizes) > 0 {
		return s.Sizes
	}
	return own
}

func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.Progress, "%6.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// skip notes what can't be measured here, and why.
func (s *session) skip(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	s.say("not measured: %s", why)
	s.report.Skipped = append(s.report.Skipped, why)
}

// stage returns the stage on the chosen cloud, which several benchmarks share.
func (s *session) stage(ctx context.Context) (*stage, error) {
	if s.chosen != nil {
		return s.chosen, nil
	}
	chosen, err := s.openStage(ctx)
	if err != nil {
		return nil, err
	}
	s.chosen = chosen
	s.report.Machine.Cloud = chosen.describe(ctx)
	return chosen, nil
}

func (s *session) close(ctx context.Context) error {
	if s.chosen == nil {
		return nil
	}
	return s.chosen.close(ctx)
}
