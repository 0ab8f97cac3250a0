package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
	"github-runner/lab/slowcloud"
)

func TestAgentReplacesWhatHasFinished(t *testing.T) {
	s := newStage(t)
	s.start()
	names := s.untilRunning(3)
	for _, name := range names {
		s.finish(name)
		s.until("another runner", func() bool { return !slices.Contains(s.running(), name) && len(s.running()) == 3 })
	}
	if made := len(s.cloud.Created()); made != 6 {
		t.Errorf("%d runners were made for three and three jobs", made)
	}
	s.stop()
	s.untilRunning(3)
}

func TestAgentFollowsTheState(t *testing.T) {
	s := newStage(t)
	s.start()
	before := s.untilRunning(3)
	s.apply(func(config map[string]any) { config["virtual-machines"] = 5 })
	after := s.untilRunning(5)
	for _, name := range before {
		if !slices.Contains(after, name) {
			t.Errorf("%s is gone", name)
		}
	}
	s.apply(func(config map[string]any) { config["virtual-machines"] = 1 })
	s.untilRunning(1)
	if status := s.status(); status.Wanted != 1 || status.Generation != 3 || status.Unit != "github-runner/0" || status.Budget.Remaining != 4000 {
		t.Errorf("the status says %+v", status)
	}
}

// While a hook has the unit, the agent does nothing; then it looks at what the
// hook left.
func TestAgentGivesWayToHooks(t *testing.T) {
	s := newStage(t)
	s.cloud = slowcloud.New(slowcloud.Options{Events: true, Insight: true, CreateTakes: time.Hour, BootDeadline: time.Minute})
	s.github.cloud = s.cloud
	s.start()
	s.until("a create", func() bool { return s.cloud.MostCreates() == 3 })
	s.as("a hook in the middle of a create", func(*unit.Hold) {
		if n := s.github.count(); n != 0 {
			t.Errorf("%d registrations are left of creates that were called off", n)
		}
		looks := s.github.looks()
		s.cloud.LoseWatches()
		// That nothing happens tells nobody: one that did not wait would have looked by
		// then. A slow machine lets the test pass, never fail.
		time.Sleep(50 * time.Millisecond)
		if s.github.looks() != looks {
			t.Error("the agent works beside a hook")
		}
	})
	s.until("more creates", func() bool { return len(s.cloud.Calls()) > 0 && s.github.count() == 3 })
	s.stop()
	if n := s.github.count(); n != 0 {
		t.Errorf("%d registrations are left when the agent ends", n)
	}
}

// Who wanted the unit and hung up before the agent had given way leaves it what it
// was at.
func TestAgentGoesOnAfterAWishThatWasGivenUp(t *testing.T) {
	s := newStage(t)
	s.cloud = slowcloud.New(slowcloud.Options{Events: true, Insight: true, CreateTakes: time.Hour, BootDeadline: time.Minute})
	s.github.cloud = s.cloud
	s.start()
	creates := func() (n int) {
		for _, call := range s.cloud.Calls() {
			if call.Method == "Create" {
				n++
			}
		}
		return n
	}
	s.until("a create", func() bool { return creates() == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.ask(ctx, http.MethodPost, unit.YieldPath); err == nil {
		t.Error("a wish is answered while it lasts")
	}
	s.until("creates that begin anew", func() bool { return creates() >= 6 })
}

func TestAgentSaysWhyItCannotWork(t *testing.T) {
	s := newStage(t)
	s.spoilFleets(errors.New("no fleet"))
	s.start()
	s.until("a word of it", func() bool {
		status := s.status()
		return strings.Contains(status.LastError, "no fleet") && status.Doing == waiting
	})
	s.spoilFleets(nil)
	s.untilRunning(3)
	s.until("the end of it", func() bool { return s.status().LastError == "" })
}

func TestAgentOfAnotherBuildEnds(t *testing.T) {
	s := newStage(t)
	s.start()
	s.untilRunning(3)
	s.as("a hook of another build", func(hold *unit.Hold) {
		hold.Past.Build = "another"
		if err := hold.Write(); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.wait(); !errors.Is(err, ErrOtherBuild) {
		t.Errorf("the agent ended with %v", err)
	}
}

func TestAgentOfARemovedUnitEnds(t *testing.T) {
	s := newStage(t)
	s.start()
	s.untilRunning(3)
	s.as("stop", func(hold *unit.Hold) {
		hold.Past.Stopping = true
		if err := errors.Join(hold.Write(), s.dir.Remove()); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	if _, err := os.Stat(s.dir.Path()); err == nil {
		t.Error("the unit's folder is back")
	}
}

func TestAgentDoesNothingWhere(t *testing.T) {
	for what, change := range map[string]func(*unitdir.State){
		"the unit is being removed":               func(past *unitdir.State) { past.Stopping = true },
		"waiting for a configuration":             func(past *unitdir.State) { past.Applied = nil },
		"hooks take over from the previous charm": func(past *unitdir.State) { past.FormerCharm = nil },
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			s.as("a hook", func(hold *unit.Hold) {
				change(&hold.Past)
				if err := hold.Write(); err != nil {
					t.Fatal(err)
				}
			})
			s.start()
			s.until("a word of it", func() bool { return s.status().Doing == what })
			s.stop()
			if calls := s.cloud.Calls(); len(calls) > 0 {
				t.Errorf("the cloud was asked: %v", calls)
			}
		})
	}
}

// A state file that is lost or cut off costs no runner.
func TestAgentWithoutItsState(t *testing.T) {
	for what, spoil := range map[string]func(path string) error{
		"lost":    os.Remove,
		"cut off": func(path string) error { return os.WriteFile(path, []byte(`{"version": 1, "app`), 0o600) },
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a folder": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			s.start()
			names := s.untilRunning(3)
			if err := spoil(s.dir.Path("state.json")); err != nil {
				t.Fatal(err)
			}
			s.finish(names[0])
			s.until("another runner", func() bool { return !slices.Contains(s.running(), names[0]) && len(s.running()) == 3 })
			for _, name := range names[1:] {
				if !slices.Contains(s.running(), name) {
					t.Errorf("%s is gone", name)
				}
			}
			s.as("a hook", func(hold *unit.Hold) {
				if applied, ok := hold.LastApplied(); !ok || applied.Count != 3 {
					t.Errorf("what the agent wrote down: %v %+v", ok, applied)
				}
			})
		})
	}
}

func TestAgentTellsOfTrouble(t *testing.T) {
	s := newStage(t)
	s.start()
	s.untilRunning(3)
	s.github.setAway(fmt.Errorf("no answer: %w", runner.ErrUnreachable))
	s.apply(func(config map[string]any) { config["virtual-machines"] = 4 })
	s.until("a word of it", func() bool { return s.status().LastError != "" })
	status := s.status()
	if wait := time.Until(status.NextWake); wait > maxBackOff+maxBackOff/4 {
		t.Errorf("it looks again after %v", wait)
	}
	if response, err := s.get("/health"); err != nil || response.StatusCode != http.StatusNoContent {
		t.Errorf("an agent that waits for GitHub is not ill: %v %v", response, err)
	}
	s.github.setAway(nil)
	s.untilRunning(4)
	s.until("the end of it", func() bool { return s.status().LastError == "" })
}

// A cloud that hangs up is watched anew, and looked at: something may have
// happened meanwhile.
func TestAgentWatchesAgain(t *testing.T) {
	s := newStage(t)
	s.start()
	names := s.untilRunning(3)
	s.cloud.LoseWatches()
	s.finish(names[0])
	s.until("another runner", func() bool { return !slices.Contains(s.running(), names[0]) && len(s.running()) == 3 })
}

func TestTwoAgentsOfAUnit(t *testing.T) {
	s := newStage(t)
	s.start()
	s.untilRunning(3)
	err := Run(t.Context(), Config{Dir: s.dir, Build: build, Assemble: s.assemble, Log: s.log})
	if err == nil {
		t.Error("a second agent runs beside the first")
	}
}

func TestRestAfter(t *testing.T) {
	soon, late := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	for _, test := range []struct {
		name        string
		fresh       time.Time
		result      runner.Result
		again       time.Duration
		err         error
		least, most time.Duration
		deaf        bool
	}{
		{name: "until the interval", fresh: soon, least: 50 * time.Second, most: time.Minute},
		{name: "until something is due", fresh: late, again: time.Second, least: time.Second, most: time.Second},
		{name: "a single failure", fresh: late, again: 10 * time.Second, err: errors.New("no"), least: 10 * time.Second, most: 10 * time.Second},
		{name: "nothing can be made", fresh: late, result: runner.Result{Stalled: true}, err: runner.ErrNotFound, least: time.Second, most: 3 * time.Second},
		{name: "nothing answers", fresh: late, result: runner.Result{Stalled: true, Silent: true}, err: runner.ErrUnreachable, least: time.Second, most: 3 * time.Second, deaf: true},
		{name: "rate limit", fresh: late, result: runner.Result{Stalled: true}, err: fmt.Errorf("cannot list: %w", runner.RateLimited{Until: late}), least: 59 * time.Minute, most: time.Hour},
	} {
		a := &agent{fresh: test.fresh}
		got := a.restAfter(test.result, test.again, test.err)
		if got.length < test.least || got.length > test.most || got.deaf != test.deaf {
			t.Errorf("%s: it rests for %+v, want %v to %v", test.name, got, test.least, test.most)
		}
	}
	a := &agent{}
	for range 100 {
		if got := a.restAfter(runner.Result{Stalled: true}, 0, runner.ErrUnreachable); got.length > maxBackOff+maxBackOff/4 {
			t.Fatalf("it rests for %v while nothing answers", got.length)
		}
	}
}

func TestJumped(t *testing.T) {
	now := time.Now()
	if jump := jumped(time.Time{}, now); jump != 0 {
		t.Errorf("a clock that was never read jumped by %v", jump)
	}
	if jump := jumped(now, now.Add(time.Hour)); jump != 0 {
		t.Errorf("an hour passed, and the clock jumped by %v", jump)
	}
	for gone, want := range map[time.Duration]time.Duration{
		10 * time.Minute:                 0,
		10*time.Minute + 30*time.Second:  0,
		10*time.Minute - 30*time.Second:  0,
		10*time.Minute + time.Hour:       time.Hour,
		10*time.Minute - 10*24*time.Hour: -10 * 24 * time.Hour,
		10*time.Minute + 61*time.Second:  61 * time.Second,
		10*time.Minute - 2*time.Minute:   -2 * time.Minute,
	} {
		if jump := setBy(gone, 10*time.Minute); jump != want {
			t.Errorf("a clock that went by %v in ten minutes was set by %v, want %v", gone, jump, want)
		}
	}
}

func TestGate(t *testing.T) {
	g := newGate()
	expect := func(wanted bool) {
		t.Helper()
		if closed(g.whenWanted()) != wanted || closed(g.whenFree()) == wanted {
			t.Errorf("wanted %v, free %v; want %v and %v", closed(g.whenWanted()), closed(g.whenFree()), wanted, !wanted)
		}
	}
	expect(false)
	first, second := g.enter(), g.enter()
	expect(true)
	first()
	first()
	expect(true)
	second()
	expect(false)
	defer g.enter()()
	expect(true)
}

func TestWatchOfASilentCloud(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if told := watch(ctx, slowcloud.New(slowcloud.Slow()), nil, newStage(t).log); told != (signals{}) {
		t.Error("a cloud without events tells of some")
	}
}

// slowWatcher lets the first who watches wait until they give up.
type slowWatcher struct {
	calls int
}

func (w *slowWatcher) Watch(ctx context.Context) (<-chan struct{}, error) {
	w.calls++
	if w.calls == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return noEvents(ctx), nil
}

// noEvents are those of a cloud in which nothing happens until ctx ends.
func noEvents(ctx context.Context) <-chan struct{} {
	events := make(chan struct{})
	context.AfterFunc(ctx, func() { close(events) })
	return events
}

// A hook that comes while LXD does not say that it will tell of events need not
// wait for it; the events come later.
func TestWatchGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		wanted := make(chan struct{})
		time.AfterFunc(3*time.Second, func() { close(wanted) })
		began := time.Now()
		cloud := &slowWatcher{}
		told := watch(ctx, cloud, wanted, logrus.NewEntry(logrus.New()))
		if late := time.Since(began) - 3*time.Second; late > time.Second {
			t.Errorf("it gave way %v after it was asked to", late)
		}
		<-told.changed
		if cloud.calls != 2 {
			t.Errorf("it tried to watch %d times", cloud.calls)
		}
	})
}

// awayWatcher is watched at once, hangs up, and answers again after its time.
type awayWatcher struct {
	until time.Time
	calls int
}

func (w *awayWatcher) Watch(ctx context.Context) (<-chan struct{}, error) {
	w.calls++
	if w.calls > 1 && time.Now().Before(w.until) {
		return nil, runner.ErrUnreachable
	}
	if w.calls == 1 {
		hungUp := make(chan struct{})
		close(hungUp)
		return hungUp, nil
	}
	return noEvents(ctx), nil
}

// However long a cloud was away: once it is back nobody waits for the end of a rest.
func TestACloudThatIsBackEndsARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log := logrus.New()
		log.SetOutput(io.Discard)
		back := time.Now().Add(20 * time.Minute)
		a := &agent{gate: newGate(), fleet: &fleet{}}
		a.fleet.signals = watch(ctx, &awayWatcher{until: back}, nil, logrus.NewEntry(log))
		if !a.wait(ctx, rest{length: 24 * time.Hour, deaf: true}, nil) {
			t.Fatal("the agent is to end")
		}
		if late := time.Since(back); late < 0 || late > 10*time.Second {
			t.Errorf("it looked %v after the cloud was back", late)
		}
		if !a.wait(ctx, rest{length: time.Hour, deaf: true}, nil) || time.Since(back) < time.Hour {
			t.Errorf("it looked again %v after the cloud was back, where nothing had happened", time.Since(back))
		}
	})
}
