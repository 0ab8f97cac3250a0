package takeover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github-runner/charm/runner"
)

const (
	// settle is how long a runner that was let go of is watched before it is
	// removed: GitHub has been seen to let one go that had just taken a job.
	settle = 5 * time.Second
	// settled bounds that watch in one call; the next one goes on.
	settled = 30 * time.Second
	// lookAgain is the pause between two looks.
	lookAgain = 500 * time.Millisecond
	// deletes is how many instances are removed at the same time.
	deletes = 8
)

// Machines is where the runners live, and what the Python charm set up there.
// Every method has a deadline of its own.
type Machines interface {
	// FormerInstances lists the Python charm's instances, of every unit that is
	// on this machine.
	FormerInstances(ctx context.Context) ([]Instance, error)
	// FormerWorking tells whether a job is at work in one of them.
	FormerWorking(ctx context.Context, name string) (runner.Working, error)
	// RemoveFormer removes one of them, running or not; nil when it is gone.
	RemoveFormer(ctx context.Context, name string) error
	// FormerRemains reads what a runner that is gone left in its folder below dir,
	// whatever is there: it is hostile. came is when it came online, zero where it
	// does not say so.
	FormerRemains(dir, name string) (remains runner.Remains, came time.Time)
	// RemoveFormerSetup removes what they shared, but what is in use by others.
	RemoveFormerSetup(ctx context.Context) error
}

// GitHub is the part of GitHub's API that a takeover needs; see runner.GitHub for
// what its methods promise.
type GitHub interface {
	Runners(ctx context.Context, scope runner.Scope, prefix string) ([]runner.Registration, error)
	Deregister(ctx context.Context, scope runner.Scope, id int64) error
}

// Journal is told of the end of runners; see runner.Journal.
type Journal interface {
	Ended(ctx context.Context, runner runner.Info, remains runner.Remains, came time.Time)
}

// Config is what a Takeover works with.
type Config struct {
	// Unit is the unit that was refreshed, such as "github-runner/0".
	Unit string
	// Scope is where the unit registers its runners now.
	Scope runner.Scope
	// CharmDir is the charm's folder. Root is a prefix of every other path.
	CharmDir string
	Root     string
	Machines Machines
	GitHub   GitHub
	// Journal gets the jobs that runners had; nil: nobody wants them.
	Journal Journal
	// Memory is what the last takeover remembered; Save keeps what this one
	// does.
	Memory Memory
	Save   func(Memory) error
	Log    *logrus.Entry
}

// Takeover is one unit's. Whoever uses it holds the unit's lock.
type Takeover struct {
	cfg    Config
	memory Memory
}

// New returns a takeover; it does nothing yet.
func New(cfg Config) *Takeover {
	memory := cfg.Memory
	memory.Leaving = maps.Clone(memory.Leaving)
	return &Takeover{cfg: cfg, memory: memory}
}

// Runners are the Python charm's runners of the unit that are still there, by
// name.
type Runners struct {
	// Free run no job, as far as GitHub says. Busy run one, or are about to end
	// after one. Of Unknown that can't be told now.
	Free, Busy, Unknown []string
}

// Names returns all of them.
func (r Runners) Names() []string {
	return slices.Sorted(slices.Values(slices.Concat(r.Free, r.Busy, r.Unknown)))
}

// String says in half a sentence what is left of them; "" when nothing is.
func (r Runners) String() string {
	var what string
	count := len(r.Names())
	switch count {
	case 0:
		return ""
	case len(r.Busy):
		what = "still busy"
	case len(r.Busy) + len(r.Free):
		what = fmt.Sprintf("left, %d of them busy", len(r.Busy))
	default:
		what = fmt.Sprintf("left, %d of them busy, %d unknown", len(r.Busy), len(r.Unknown))
		if len(r.Busy) == 0 {
			// None is known to be busy, which is not that none is.
			what = fmt.Sprintf("left, %d unknown", len(r.Unknown))
		}
	}
	if count == 1 {
		return "1 runner of the previous charm is " + what
	}
	return fmt.Sprintf("%d runners of the previous charm are %s", count, what)
}

// Look returns the runners that are there. It changes nothing.
func (t *Takeover) Look(ctx context.Context) (Runners, error) {
	found, err := t.look(ctx)
	if err != nil {
		return Runners{}, err
	}
	return sum(found), nil
}

func sum(found []former) Runners {
	var runners Runners
	for _, f := range found {
		switch f.verdict {
		case free:
			runners.Free = append(runners.Free, f.name)
		case unknown:
			runners.Unknown = append(runners.Unknown, f.name)
		default:
			runners.Busy = append(runners.Busy, f.name)
		}
	}
	return runners
}

// Release lets go of at most so many free runners, removes those that have ended,
// and returns who is left. A runner that took a job meanwhile stays.
func (t *Takeover) Release(ctx context.Context, most int) (Runners, error) {
	found, err := t.look(ctx)
	if err != nil {
		return Runners{}, err
	}
	var failures []error
	for _, f := range found {
		if f.verdict != free || most <= 0 {
			continue
		}
		most--
		log := t.cfg.Log.WithField("runner", f.name)
		err := t.cfg.GitHub.Deregister(ctx, f.scope, f.id)
		switch {
		case errors.Is(err, runner.ErrBusy):
			log.Info("left alone: the previous charm's runner is busy")
		case err != nil:
			failures = append(failures, fmt.Errorf("cannot let go of the previous charm's runner %s: %w", f.name, err))
		default:
			t.memory.leaves(f.name, time.Now())
			log.Info("deregistered the previous charm's runner, to be removed once it is quiet")
		}
	}
	left, err := t.clear(ctx)
	t.save()
	return left, errors.Join(append(failures, err)...)
}

// clear removes the runners that have ended, and those that show no work for the
// settling time after their registration went. It waits for the latter.
func (t *Takeover) clear(ctx context.Context) (Runners, error) {
	waiting, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	for {
		found, err := t.look(ctx)
		if err != nil {
			return Runners{}, err
		}
		quiet := func(f former) bool { return f.verdict == leaving && f.working == runner.WorkingNo }
		ripe := slices.DeleteFunc(slices.Clone(found), func(f former) bool {
			return f.verdict != ended && !(quiet(f) && time.Since(f.since) >= settle)
		})
		if err := t.remove(ctx, ripe); err != nil {
			return sum(found), err
		}
		if len(ripe) == 0 && !slices.ContainsFunc(found, quiet) {
			return sum(found), nil
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-waiting.Done():
			timer.Stop()
			return sum(found), ctx.Err()
		case <-timer.C:
		}
	}
}

// remove removes instances side by side.
func (t *Takeover) remove(ctx context.Context, victims []former) error {
	var group errgroup.Group
	group.SetLimit(deletes)
	var mu sync.Mutex
	var failures []error
	for _, f := range victims {
		group.Go(func() error {
			err := t.cfg.Machines.RemoveFormer(ctx, f.name)
			if err == nil {
				t.cfg.Log.WithField("runner", f.name).Info("removed the previous charm's runner")
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, err)
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(failures...)
}

// RemoveAll removes all runners, busy or not, with or without GitHub. It returns
// the names of those whose registration GitHub still holds: it removes them by
// itself within a day.
func (t *Takeover) RemoveAll(ctx context.Context) (removed int, left []string, err error) {
	found, err := t.look(ctx)
	if err != nil {
		return 0, nil, err
	}
	if err := t.remove(ctx, found); err != nil {
		return 0, nil, err
	}
	for _, f := range found {
		if f.id == 0 && f.verdict != unknown {
			continue
		}
		if f.id != 0 && t.cfg.GitHub.Deregister(ctx, f.scope, f.id) == nil {
			continue
		}
		left = append(left, f.name)
	}
	return len(found), left, nil
}

// save keeps the memory. One that can't be kept costs a few seconds of watching.
func (t *Takeover) save() {
	if err := t.cfg.Save(t.memory); err != nil {
		t.cfg.Log.WithError(err).Warn("cannot keep what was seen of the previous charm")
	}
}

// leaves notes since when a runner is on its way out, and returns it.
func (m *Memory) leaves(name string, now time.Time) time.Time {
	if since, known := m.Leaving[name]; known {
		return since
	}
	if m.Leaving == nil {
		m.Leaving = map[string]time.Time{}
	}
	m.Leaving[name] = now.UTC()
	return now
}
