package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github-runner/lab/github"
)

const (
	// refillJobs is how many jobs are run in a round, one after the other.
	refillJobs = 10
	// refillRunners is how many runners the unit keeps meanwhile.
	refillRunners = 2
	// floorEvery is after how many jobs the plain loop starts one container.
	floorEvery = 10
	// createTarget is the time from a job's end to the call that registers the
	// next runner, for 95 of 100 jobs.
	createTarget = 1.0
)

// refill is what followed on the end of one job, in seconds after it.
type refill struct {
	// stopped is when LXD told that the used runner had stopped, registered when
	// the next one's registration reached GitHub, online when that came online.
	stopped, registered, online float64
}

// refill measures how soon the agent replaces a used runner. The floor of the
// create call is LXD's word that the used machine has stopped: nobody can know
// before. That of being online is the plain loop's container.
func (s *session) refill(ctx context.Context) (results []Result, err error) {
	on, err := s.stage(ctx)
	if err != nil {
		return nil, err
	}
	u, err := newUnit(on, s.Charm, "bench/4")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.remove(context.WithoutCancel(ctx))) }()
	if _, err := u.scale(ctx, refillRunners); err != nil {
		return nil, err
	}
	s.report.Machine.Cloud = on.describe(ctx)
	f, err := newFloor(ctx, u)
	if err != nil {
		return nil, err
	}
	defer f.close()
	// Jobs ask it whether they may run.
	policy, err := u.serve(ctx, "policy")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, policy.end()) }()
	resident, err := u.serve(ctx, "agent")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resident.end()) }()
	if err := resident.settled(ctx); err != nil {
		return nil, err
	}
	refills, floors, err := s.refills(ctx, u, f)
	return refillResults(on.cloud, refills, floors), err
}

func (s *session) refills(ctx context.Context, u *unit, f *floor) (refills []refill, floors []start, err error) {
	stops, err := watchStops(f.server)
	if err != nil {
		return nil, nil, err
	}
	for job := range refillJobs * s.Rounds {
		if job%floorEvery == 0 {
			one, err := f.start(ctx, 1)
			if err != nil {
				return refills, floors, err
			}
			floors = append(floors, one)
		}
		one, err := u.refill(ctx, stops)
		if err != nil {
			return refills, floors, fmt.Errorf("job %d: %w", job+1, err)
		}
		refills = append(refills, one)
	}
	s.say("refill: %d jobs, %d containers by a plain loop", len(refills), len(floors))
	return refills, floors, nil
}

// refill runs one job and waits until its runner has a successor that is online.
func (u *unit) refill(ctx context.Context, stops *stops) (refill, error) {
	before, err := u.registered(ctx)
	if err != nil {
		return refill{}, err
	}
	queued, err := u.stage.github.Queue(ctx, github.JobRequest{Duration: 100 * time.Millisecond, Repository: repository})
	if err != nil {
		return refill{}, err
	}
	successor, registered, err := u.successor(ctx, before)
	if err != nil {
		return refill{}, err
	}
	if err := u.stage.waitOnline(ctx, successor, 1, onlineTimeout); err != nil {
		return refill{}, err
	}
	online := time.Now()
	done, err := u.job(ctx, queued[0].ID)
	if err != nil {
		return refill{}, err
	}
	since := func(at time.Time) float64 { return at.Sub(*done.Completed).Seconds() }
	return refill{stopped: since(stops.of(done.Runner)), registered: since(registered), online: since(online)},
		u.stage.waitOnline(ctx, u.owner.Prefix(), refillRunners, onlineTimeout)
}

// registered are the names of the unit's runners at GitHub.
func (u *unit) registered(ctx context.Context) (map[string]time.Time, error) {
	runners, err := u.stage.github.Runners(ctx)
	names := map[string]time.Time{}
	for _, r := range runners {
		if u.owner.Owns(r.Name) {
			names[r.Name] = r.Registered
		}
	}
	return names, err
}

// successor waits for a runner that was not registered before.
func (u *unit) successor(ctx context.Context, before map[string]time.Time) (name string, registered time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	for {
		now, err := u.registered(ctx)
		if err != nil {
			return "", time.Time{}, err
		}
		for name, at := range now {
			if _, known := before[name]; !known {
				return name, at, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", time.Time{}, errors.New("no other runner takes the used one's place")
		case <-ticker.C:
		}
	}
}

func (u *unit) job(ctx context.Context, id int64) (github.JobInfo, error) {
	jobs, err := u.stage.github.Jobs(ctx)
	if err != nil {
		return github.JobInfo{}, err
	}
	at := slices.IndexFunc(jobs, func(j github.JobInfo) bool { return j.ID == id })
	if at < 0 || jobs[at].Completed == nil {
		return github.JobInfo{}, errors.New("its runner was replaced before it was done")
	}
	return jobs[at], nil
}

func refillResults(cloud string, refills []refill, floors []start) []Result {
	if len(refills) == 0 {
		return nil
	}
	result := func(figure string, spread Spread) Result {
		return Result{Benchmark: "refill", Case: fmt.Sprintf("%d jobs %s", len(refills), cloud), Figure: figure, Unit: "s", Charm: spread}
	}
	stopped := func(r refill) float64 { return r.stopped }
	registered := func(r refill) float64 { return r.registered }
	online := func(r refill) float64 { return r.online }
	return []Result{
		result("job's end to create call", spreadOf(refills, registered)).against(spreadOf(refills, stopped)),
		result("95 of 100 within", lateSpread(refills, registered)).against(lateSpread(refills, stopped)).within(Target{Most: createTarget}),
		result("job's end to next online", spreadOf(refills, online)).against(spreadOf(floors, onlineSeconds)),
		result("95 of 100 are online within", lateSpread(refills, online)),
	}
}

// lateSpread is a spread with the 95th percentile in the place of the median.
func lateSpread[T any](samples []T, figure func(T) float64) Spread {
	spread := spreadOf(samples, figure)
	values := make([]float64, 0, len(samples))
	for _, sample := range samples {
		values = append(values, figure(sample))
	}
	slices.SortFunc(values, cmp.Compare[float64])
	spread.Median = values[min(len(values)*95/100, len(values)-1)]
	return spread
}
