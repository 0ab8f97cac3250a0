package takeover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
)

const (
	first  = "github-runner-0-000000000000000000000001"
	second = "github-runner-0-000000000000000000000002"
	others = "github-runner-00-000000000000000000000003"
)

var (
	current = runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}
	before  = runner.Scope{API: "https://api.github.com", Path: "acme/old"}
)

// world is a machine and GitHub at once: a runner is registered, works, runs.
type world struct {
	mu         sync.Mutex
	running    map[string]bool
	registered map[string]runner.Registration
	working    map[string]runner.Working
	// takesJob are runners that take a job just when they are let go of.
	takesJob map[string]bool
	away     error
	setups   int // how often the setup was removed
	saved    []Memory
	ended    []string // with what they left
}

func newWorld(names ...string) *world {
	w := &world{running: map[string]bool{}, registered: map[string]runner.Registration{}, working: map[string]runner.Working{}, takesJob: map[string]bool{}}
	for n, name := range names {
		w.running[name] = true
		w.working[name] = runner.WorkingNo
		w.registered[name] = runner.Registration{ID: int64(n + 1), Name: name, Online: true, Scope: current}
	}
	return w
}

func (w *world) change(name string, f func(*runner.Registration)) {
	r := w.registered[name]
	f(&r)
	w.registered[name] = r
}

func (w *world) FormerInstances(context.Context) ([]Instance, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []Instance
	for name, running := range w.running {
		found = append(found, Instance{Name: name, Running: running})
	}
	slices.SortFunc(found, func(a, b Instance) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

func (w *world) FormerWorking(_ context.Context, name string) (runner.Working, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.working[name] == runner.WorkingUnknown {
		return runner.WorkingUnknown, errors.New("the agent does not answer")
	}
	return w.working[name], nil
}

func (w *world) RemoveFormer(_ context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, name)
	return nil
}

func (w *world) FormerRemains(dir, name string) (runner.Remains, time.Time) {
	pre, err := os.ReadFile(filepath.Join(dir, name, "pre-job-metrics.json"))
	if err != nil {
		pre = []byte(err.Error())
	}
	return runner.Remains{PreJob: pre}, time.Unix(1, 0)
}

func (w *world) Ended(_ context.Context, ended runner.Info, remains runner.Remains, came time.Time) {
	w.ended = append(w.ended, fmt.Sprint(ended.Name, " ", ended.Scope.Path, " ", string(remains.PreJob), " ", came.Unix()))
}

func (w *world) RemoveFormerSetup(context.Context) error {
	w.setups++
	return nil
}

func (w *world) Runners(_ context.Context, scope runner.Scope, prefix string) ([]runner.Registration, error) {
	if w.away != nil {
		return nil, w.away
	}
	var found []runner.Registration
	for _, r := range w.registered {
		if r.Scope == scope && strings.HasPrefix(r.Name, prefix) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (w *world) Deregister(_ context.Context, scope runner.Scope, id int64) error {
	for name, r := range w.registered {
		if r.ID != id || r.Scope != scope {
			continue
		}
		if w.away != nil {
			return w.away
		}
		if r.Busy {
			return fmt.Errorf("cannot deregister: %w", runner.ErrBusy)
		}
		if w.takesJob[name] {
			w.working[name] = runner.WorkingYes
		}
		delete(w.registered, name)
	}
	return nil
}

// takeover is what the next hook makes of what the last one remembered.
func (w *world) takeover(change func(*Config)) *Takeover {
	log := logrus.New()
	log.SetOutput(io.Discard)
	config := Config{
		Unit: "github-runner/0", Scope: current, Machines: w, GitHub: w, Journal: w,
		Save: func(m Memory) error { w.saved = append(w.saved, m); return nil },
		Log:  logrus.NewEntry(log),
	}
	if len(w.saved) > 0 {
		config.Memory = w.saved[len(w.saved)-1]
	}
	if change != nil {
		change(&config)
	}
	return New(config)
}

func (w *world) names() []string {
	var names []string
	for name := range w.running {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestNames(t *testing.T) {
	for name, mine := range map[string]bool{
		first: true,
		"github-runner-1-000000000000000000000001": false,
		others: false,
		"my-github-runner-0-000000000000000000000001": false,
		"github-runner-0-0000000000000000000000012":   false,
		"github-runner-0-00000000000000000000000g":    false,
		"github-runner-0-00000000000A000000000001":    false,
		"github-runner-0-0123456789ab":                false, // one of ours
		"github-runner-0-":                            false,
		"":                                            false,
	} {
		if got := owns("github-runner/0", name); got != mine {
			t.Errorf("owns %q: %v", name, got)
		}
	}
}

func TestRelease(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		most   int
		left   Runners
	}{
		"free ones go, so many and no more": {func(*world) {}, 1, Runners{Free: []string{second}}},
		"all go":                            {func(*world) {}, 5, Runners{}},
		"none is to go":                     {func(*world) {}, 0, Runners{Free: []string{first, second}}},
		"busy ones stay": {func(w *world) {
			w.change(first, func(r *runner.Registration) { r.Busy = true })
		}, 5, Runners{Busy: []string{first}}},
		"the job came when it was let go of": {func(w *world) { w.takesJob[first] = true }, 5, Runners{Busy: []string{first}}},
		"whether it works can't be seen": {func(w *world) {
			w.working[first] = runner.WorkingUnknown
			delete(w.registered, first)
		}, 5, Runners{Unknown: []string{first}}},
		"one that does not run goes, whatever it was": {func(w *world) {
			w.running[first] = false
			w.change(first, func(r *runner.Registration) { r.Busy = true })
		}, 0, Runners{Free: []string{second}}},
		// A hook may be killed after it let go of a runner, before it noted that.
		"one whose registration is gone goes": {func(w *world) { delete(w.registered, first) }, 0, Runners{Free: []string{second}}},
		"one at the end of its job stays": {func(w *world) {
			delete(w.registered, first)
			w.working[first] = runner.WorkingYes
		}, 5, Runners{Busy: []string{first}}},
		"nothing is known without GitHub": {func(w *world) { w.away = runner.ErrUnreachable }, 5, Runners{Unknown: []string{first, second}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(first, second)
				test.change(w)
				left, err := w.takeover(nil).Release(t.Context(), test.most)
				if err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(test.left, left); diff != "" {
					t.Errorf("left (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(left.Names(), w.names()); diff != "" {
					t.Errorf("instances (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A unit of the same name in another model registers runners under such names: what
// has no instance here may be its.
func TestRegistrationsWithoutAnInstanceStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(first, second)
		delete(w.running, second)
		if _, err := w.takeover(nil).Release(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.takeover(nil).RemoveAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, there := w.registered[second]; !there || len(w.registered) != 1 {
			t.Errorf("registered are %v", w.registered)
		}
	})
}

func TestRunnersOfAnotherUnitStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(first, others)
		delete(w.registered, others)
		if _, err := w.takeover(nil).Release(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		if removed, left, err := w.takeover(nil).RemoveAll(t.Context()); removed != 0 || left != nil || err != nil {
			t.Errorf("removed %d, left %v, %v", removed, left, err)
		}
		if diff := cmp.Diff([]string{others}, w.names()); diff != "" {
			t.Errorf("instances (-want +got):\n%s", diff)
		}
	})
}

func TestRunnersOfAFormerPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(first, second)
		w.change(first, func(r *runner.Registration) { r.Scope = before })
		w.change(second, func(r *runner.Registration) { r.Scope = before; r.Busy = true })
		takeover := w.takeover(func(c *Config) { c.Memory = Memory{Found: true, Path: before.Path} })
		left, err := takeover.Release(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Runners{Busy: []string{second}}, left); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if last := w.saved[len(w.saved)-1]; last.Path != before.Path {
			t.Errorf("remembered is %+v", last)
		}
	})
}

func TestRemoveAll(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		left   []string
	}{
		"with GitHub":    {func(*world) {}, nil},
		"busy":           {func(w *world) { w.change(first, func(r *runner.Registration) { r.Busy = true }) }, []string{first}},
		"without GitHub": {func(w *world) { w.away = runner.ErrUnauthorized }, []string{first, second}},
		"unregistered":   {func(w *world) { delete(w.registered, first) }, nil},
	} {
		w := newWorld(first, second)
		test.change(w)
		removed, left, err := w.takeover(nil).RemoveAll(t.Context())
		if err != nil || removed != 2 || len(w.running) != 0 {
			t.Errorf("%s: removed %d, there are %v, %v", name, removed, w.names(), err)
		}
		if diff := cmp.Diff(test.left, left); diff != "" {
			t.Errorf("%s: registrations left (-want +got):\n%s", name, diff)
		}
	}
}

func TestWords(t *testing.T) {
	for want, runners := range map[string]Runners{
		"": {},
		"1 runner of the previous charm is still busy":                        {Busy: []string{"a"}},
		"2 runners of the previous charm are still busy":                      {Busy: []string{"a", "b"}},
		"2 runners of the previous charm are left, 1 of them busy":            {Free: []string{"a"}, Busy: []string{"b"}},
		"1 runner of the previous charm is left, 1 unknown":                   {Unknown: []string{"a"}},
		"3 runners of the previous charm are left, 1 of them busy, 1 unknown": {Free: []string{"a"}, Busy: []string{"b"}, Unknown: []string{"c"}},
	} {
		if got := runners.String(); got != want {
			t.Errorf("%+v: %q, want %q", runners, got, want)
		}
	}
}
