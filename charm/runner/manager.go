package runner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Config is what a manager works with.
type Config struct {
	Owner  Owner
	Cloud  Cloud
	GitHub GitHub
	// Application finds the runner application of today for runners whose image
	// has none. It is asked once per reconcile, and only before a create.
	Application func(ctx context.Context, scope Scope) (Application, error)
	// Journal is told what happened to runners; nil when nobody listens.
	Journal Journal
	// LogDir is where the logs of a runner that ended abnormally are kept.
	LogDir func(name string) string
	Limits Limits
	// Memory is what the last manager remembered, Save keeps what this one
	// does.
	Memory Memory
	Save   func(Memory) error
	// Progress is told, in a few words, what is being waited for.
	Progress func(text string)
	Log      *logrus.Entry
}

// Journal is told of the events of runners' lives.
type Journal interface {
	// Online: a runner came online, so long after it was created.
	Online(name string, after time.Duration)
	// Ended: a runner is gone; came is when it came online, zero when it never
	// was seen to.
	Ended(ctx context.Context, runner Info, remains Remains, came time.Time)
	// Reconciled: a reconcile ended.
	Reconciled(result Result, took time.Duration)
}

// Manager keeps the runners of one unit. Whoever calls it holds the unit's
// lock; its methods are not to be called at the same time.
type Manager struct {
	cfg Config

	mu     sync.Mutex // guards memory while steps run
	memory Memory
	saved  Memory
	kept   kept
	runs   int
	// inspected is when runners that do not come online, or that can't be looked into,
	// were asked last.
	inspected map[string]time.Time
}

// NewManager returns a manager; it does nothing yet.
func NewManager(cfg Config) *Manager {
	return &Manager{cfg: cfg, memory: cfg.Memory.Clone(), saved: cfg.Memory.Clone(), inspected: map[string]time.Time{}}
}

// Result is what a reconcile found and did.
type Result struct {
	// View is the world as it was seen last.
	View View
	// Delta is how many runners were missing (or, negative, too many) when the
	// reconcile began.
	Delta int
	// Created and Removed are numbers of runners, Crashed those that started
	// and ended without a job or any word of their end.
	Created, Removed, Crashed int
	// Wanted is how many there should be.
	Wanted int
	// Warnings are for a person: what does not go on by itself.
	Warnings []string
	// Held is the setback that creating waits for, if any.
	Held Setback
	// Stalled: the cloud or GitHub did not answer, or what runners need could
	// not be made, so that nothing can be created whatever happens to runners.
	// Silent: it is that the cloud did not answer, so that none can be removed
	// either.
	Stalled, Silent bool
}

// Reconcile makes the runners be as wanted. With wait it returns once every new
// runner is online or has failed to be; without, once it is created. The result
// is valid beside an error, too: each error left something undone that the next
// reconcile tries again, and no more than that.
func (m *Manager) Reconcile(ctx context.Context, want Want, wait bool) (Result, error) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, m.cfg.Limits.Reconcile)
	defer cancel()
	r := m.begin(bounded, want, wait)
	err := errors.Join(r.run(bounded), ctx.Err())
	result := r.finish()
	if m.cfg.Journal != nil {
		m.cfg.Journal.Reconciled(result, time.Since(began))
	}
	return result, err
}

// save keeps the memory if it changed. A memory that can't be kept costs grace
// periods only, so it is said and no more.
func (m *Manager) save() {
	if m.cfg.Save == nil || m.memory.equal(m.saved) {
		return
	}
	if err := m.cfg.Save(m.memory.Clone()); err != nil {
		m.cfg.Log.WithError(err).Warn("cannot keep what was seen of the runners")
		return
	}
	m.saved = m.memory.Clone()
}

// sync1 makes f run at most once at a time and remember its first success. Who waits
// for another's run, which may ask GitHub, waits no longer than its own context.
func sync1[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	turn := make(chan struct{}, 1)
	var value T
	var done bool
	return func(ctx context.Context) (T, error) {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			var none T
			return none, context.Cause(ctx)
		}
		defer func() { <-turn }()
		if done {
			return value, nil
		}
		fresh, err := f(ctx)
		if err == nil {
			value, done = fresh, true
		}
		return fresh, err
	}
}
