package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github-runner/lab"
)

const (
	// intervals is how many times a day the agent looks after everything although
	// nothing has happened: every ten minutes.
	intervals = 24 * 60 / 10
	// quietTime is how long the agent is watched between two of these.
	quietTime = 3 * time.Second

	agentCPUTarget    = 0.5 // per cent of one processor
	agentMemoryTarget = 40  // MB
)

// idle is what an agent with nothing to do costs.
type idle struct {
	// wakes is the processor time of each time that it looked after everything,
	// in seconds, all that of all of them with what followed on them, and between
	// that of a second in which it did nothing.
	wakes        []float64
	all, between float64
	// now and most are its resident memory after a day's wakes, in MB.
	now, most float64
	// calls are those of GitHub during these, and how many were not answered 304.
	calls, modified int
}

// agent measures the resident agent of a unit whose runners all are idle. A day
// is as many wakes as the interval brings in a day, one after the other, and the
// rest of it what the agent uses between them.
func (s *session) agent(ctx context.Context) (results []Result, err error) {
	on, err := s.emulated()
	if err != nil {
		return nil, err
	}
	if on != s.chosen {
		defer func() { err = errors.Join(err, on.close(context.WithoutCancel(ctx))) }()
	}
	u, err := newUnit(on, s.Charm, "bench/3")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.remove(context.WithoutCancel(ctx))) }()
	for _, count := range s.sizes(0, 10, 1000) {
		s.say("agent: starting %d emulated runners", count)
		if _, err := u.scale(ctx, count); err != nil {
			return results, err
		}
		s.say("agent: a day with %d idle runners", count)
		measured, err := u.idleDay(ctx)
		if err != nil {
			return results, fmt.Errorf("with %d runners: %w", count, err)
		}
		results = append(results, agentResults(count, measured)...)
	}
	return results, nil
}

// idleDay runs an agent for a day's worth of intervals.
func (u *unit) idleDay(ctx context.Context) (measured idle, err error) {
	resident, err := u.serve(ctx, "agent")
	if err != nil {
		return idle{}, err
	}
	defer func() { err = errors.Join(err, resident.end()) }()
	if err := resident.settled(ctx); err != nil {
		return idle{}, err
	}
	if err := u.stage.github.ResetCalls(ctx); err != nil {
		return idle{}, err
	}
	began, err := clock(resident.pid)
	if err != nil {
		return idle{}, err
	}
	for range intervals {
		before, err := clock(resident.pid)
		if err != nil {
			return idle{}, err
		}
		if err := resident.wake(ctx); err != nil {
			return idle{}, err
		}
		after, err := clock(resident.pid)
		if err != nil {
			return idle{}, err
		}
		measured.wakes = append(measured.wakes, (after - before).Seconds())
	}
	// The runtime tidies up after a burst, which belongs to it.
	if _, err := resident.quiet(ctx); err != nil {
		return idle{}, err
	}
	ended, err := clock(resident.pid)
	if err != nil {
		return idle{}, err
	}
	measured.all = (ended - began).Seconds()
	if measured.between, err = resident.quiet(ctx); err != nil {
		return idle{}, err
	}
	now, most, err := resident.memory()
	if err != nil {
		return idle{}, err
	}
	measured.now, measured.most = float64(now)/1e6, float64(most)/1e6
	calls, err := u.stage.github.Calls(ctx)
	for _, endpoint := range calls {
		measured.calls += endpoint.Total
		measured.modified += endpoint.Total - endpoint.NotModified
	}
	return measured, err
}

// quiet is the processor time that an agent uses in a second in which nothing
// happens.
func (s *service) quiet(ctx context.Context) (float64, error) {
	before, err := clock(s.pid)
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(quietTime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-timer.C:
	}
	after, err := clock(s.pid)
	return (after - before).Seconds() / quietTime.Seconds(), err
}

func agentResults(count int, measured idle) []Result {
	once := func(figure, unit string, value float64) Result {
		return Result{Benchmark: "agent", Case: fmt.Sprintf("%d %s", count, lab.CloudEmulated), Figure: figure, Unit: unit, Charm: Spread{Median: value, Min: value, Max: value}}
	}
	const day = 24 * 60 * 60
	share := 100 * (measured.all/day + measured.between)
	wake := Result{Benchmark: "agent", Case: fmt.Sprintf("%d %s", count, lab.CloudEmulated), Figure: "CPU of one look at everything", Unit: "ms", Charm: spreadOf(measured.wakes, func(s float64) float64 { return 1000 * s })}
	return []Result{
		wake,
		once("share of a processor over a day", "%", share).within(Target{Most: agentCPUTarget}),
		once("memory after a day", "MB", measured.now).within(Target{Most: agentMemoryTarget}),
		once("peak memory", "MB", measured.most).within(Target{Most: agentMemoryTarget}),
		once("calls of GitHub in a day", "calls", float64(measured.calls)),
		once("of these not 304", "calls", float64(measured.modified)),
	}
}
