package bench

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// onlineTimeout bounds one start of containers.
const onlineTimeout = 5 * time.Minute

// containersTarget is how much longer than the plain loop the charm may take for
// eight containers.
const containersTarget = 1.3

// start is one measured start of runners.
type start struct {
	// Online is the time until all were online at GitHub.
	Online time.Duration
	// Hook is what the hook cost that started them; zero on the floor.
	Hook Usage
	// Work is the processor time of the containers, of LXD and of what it ran,
	// where that is weighed.
	Work time.Duration
}

func onlineSeconds(s start) float64 { return s.Online.Seconds() }
func workSeconds(s start) float64   { return s.Work.Seconds() }
func hookSeconds(s start) float64   { return s.Hook.Wall.Seconds() }
func hookMilliseconds(s start) float64 {
	return cpuMilliseconds(s.Hook)
}

// containers measures the time from config-changed with a new number of runners
// until GitHub sees all of them online, in turns with the floor.
func (s *session) containers(ctx context.Context) (results []Result, err error) {
	on, err := s.stage(ctx)
	if err != nil {
		return nil, err
	}
	u, err := newUnit(on, s.Charm, "bench/0")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = u.remove(context.WithoutCancel(ctx)) // the first error says more
			return
		}
		err = u.remove(ctx)
	}()
	// The first start makes network, pool and profile, and unpacks the image.
	s.say("containers: warming up")
	if _, err := u.scale(ctx, 1); err != nil {
		return nil, err
	}
	f, err := newFloor(ctx, u)
	if err != nil {
		return nil, err
	}
	defer f.close()
	s.report.Machine.Cloud = on.describe(ctx)
	if _, err := u.scale(ctx, 0); err != nil {
		return nil, err
	}
	for _, count := range s.sizes(1, 4, 8) {
		sized, err := s.containersOf(ctx, u, f, count)
		if err != nil {
			return results, err
		}
		results = append(results, sized...)
	}
	return results, nil
}

// containersOf measures one number of containers.
func (s *session) containersOf(ctx context.Context, u *unit, f *floor, count int) ([]Result, error) {
	var charm, floor []start
	turns := []func() error{
		func() error {
			one, err := f.start(ctx, count)
			floor = append(floor, one)
			return err
		},
		func() error {
			one, err := u.start(ctx, count)
			charm = append(charm, one)
			return err
		},
	}
	for round := range s.Rounds {
		if err := inTurns(round, turns); err != nil {
			return nil, err
		}
		s.say("containers: %d, round %d of %d: floor %.2f s, charm %.2f s", count, round+1, s.Rounds, floor[round].Online.Seconds(), charm[round].Online.Seconds())
	}
	result := func(figure, unit string, of func(start) float64) Result {
		return Result{Benchmark: "containers", Case: fmt.Sprint(count), Figure: figure, Unit: unit, Charm: spreadOf(charm, of)}
	}
	online := result("until all are online at GitHub", "s", onlineSeconds).against(spreadOf(floor, onlineSeconds))
	if count == 8 {
		online = online.within(Target{Ratio: true, Most: containersTarget})
	}
	return []Result{
		online,
		result("until the hook is done", "s", hookSeconds).against(spreadOf(floor, onlineSeconds)),
		result("CPU of the hook", "ms", hookMilliseconds),
	}, nil
}

// inTurns does what each round consists of. Charm and floor take turns in going first,
// so that neither always finds the machine as the other left it.
func inTurns(round int, turns []func() error) error {
	for turn := range turns {
		if err := turns[(round+turn)%len(turns)](); err != nil {
			return err
		}
	}
	return nil
}

// start measures a hook that has so many runners to start, and removes them.
func (u *unit) start(ctx context.Context, count int) (start, error) {
	var measured start
	if err := u.want(count); err != nil {
		return measured, err
	}
	began := time.Now()
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		err := u.stage.waitOnline(ctx, u.owner.Prefix(), count, onlineTimeout)
		measured.Online = time.Since(began)
		return err
	})
	both.Go(func() (err error) {
		measured.Hook, err = u.hook(ctx, "config-changed")
		return err
	})
	if err := both.Wait(); err != nil {
		return measured, fmt.Errorf("cannot start %d runners: %w", count, err)
	}
	ctx = context.WithoutCancel(ctx) // the group's, which its end cancels
	if _, err := u.scale(ctx, 0); err != nil {
		return measured, fmt.Errorf("cannot remove %d runners: %w", count, err)
	}
	return measured, nil
}
