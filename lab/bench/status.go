package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

const (
	// steadyRunners is how many a unit has for update-status.
	steadyRunners = 5

	statusCPUTarget    = 50 // ms
	statusMemoryTarget = 30 // MB
)

// updateStatus measures update-status of a unit whose few runners are steady, on
// the chosen cloud. The floor is the charm's program when it has nothing to do
// but to end.
func (s *session) updateStatus(ctx context.Context) (results []Result, err error) {
	on, err := s.stage(ctx)
	if err != nil {
		return nil, err
	}
	u, err := newUnit(on, s.Charm, "bench/2")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.remove(context.WithoutCancel(ctx))) }()
	for _, count := range s.sizes(steadyRunners) {
		s.say("update-status: starting %d runners", count)
		if _, err := u.scale(ctx, count); err != nil {
			return results, err
		}
		s.report.Machine.Cloud = on.describe(ctx)
		charm, floor, err := s.quietHooks(ctx, u, func() (Usage, error) { return s.version(ctx, on) })
		if err != nil {
			return results, err
		}
		result := func(figure, unit string, of func(quiet) float64) Result {
			return Result{Benchmark: "update-status", Case: fmt.Sprintf("%d %s", count, on.cloud), Figure: figure, Unit: unit, Charm: spreadOf(charm, of)}
		}
		results = append(results,
			result("CPU of the hook", "ms", quietCPU).against(spreadOf(floor, cpuMilliseconds)).within(Target{Most: statusCPUTarget}),
			result("peak memory", "MB", quietMemory).against(spreadOf(floor, peakMegabytes)).within(Target{Most: statusMemoryTarget}),
			result("wall time", "ms", quietWall).against(spreadOf(floor, wallMilliseconds)),
		)
	}
	return results, nil
}

// version measures the charm's program when it only says its version.
func (s *session) version(ctx context.Context, on *stage) (Usage, error) {
	return measure(ctx, command{
		path:   s.Charm,
		args:   []string{"--version"},
		dir:    on.dir,
		output: filepath.Join(on.dir, "version-output"),
	})
}
