// Package slowcloud is a cloud in memory for the manager's tests. With Slow it
// is what LXD is not: slow, forgetful and without events. With Fast it tells
// all it knows, at once. The same tests pass on both, so that runner.Cloud
// takes the shape of no single cloud.
//
// All delays are measured with package time alone, so that in a
// testing/synctest bubble they cost nothing.
package slowcloud

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github-runner/charm/runner"
)

// Options say how slow and how forgetful a Cloud is. The zero value is fast and
// tells nothing: begin with Slow or Fast.
type Options struct {
	// CallTakes is how long every call takes before it has its effect.
	CallTakes time.Duration
	// CreateTakes is how long Create takes, instead of CallTakes.
	CreateTakes time.Duration
	// BootTakes is the time between the end of Create and StatusRunning.
	BootTakes time.Duration
	// AppearsAfter is how long after its creation a new instance is missing
	// from List.
	AppearsAfter time.Duration
	// Lag is how old the world is that List tells of.
	Lag time.Duration
	// DeleteTakes is the time between the end of Delete and the instance's
	// end; in between its status is StatusDeleting.
	DeleteTakes time.Duration
	// Events makes Watch work; without, it returns a nil channel.
	Events bool
	// Insight lets the cloud look into its instances: Working, TookJob,
	// PreJobDone and Completed are told, and PreJobDone sees the marker.
	Insight bool
	// Inspection lets the cloud look into one instance at a time, by Inspect, where
	// its list tells nothing. It takes as long as a call.
	Inspection bool
	// BootDeadline is what Prepare puts into its templates.
	BootDeadline time.Duration

	// OnRunning is called, from a goroutine of its own, when an instance
	// starts to run: the place to attach the life of a fake guest.
	OnRunning func(birth runner.Birth)
	// OnGone is called, from a goroutine of its own, when an instance has gone.
	OnGone func(name string)
}

// Slow returns the options of a cloud that is slow and forgetful.
func Slow() Options {
	return Options{
		CallTakes:    300 * time.Millisecond,
		CreateTakes:  8 * time.Second,
		BootTakes:    90 * time.Second,
		AppearsAfter: 4 * time.Second,
		Lag:          3 * time.Second,
		DeleteTakes:  12 * time.Second,
		BootDeadline: 20 * time.Minute,
	}
}

// Inspected returns the options of a cloud like Slow's that can be asked what
// happens in one instance.
func Inspected() Options {
	options := Slow()
	options.Inspection = true
	return options
}

// Fast returns the options of a cloud that does all at once and tells all.
func Fast() Options {
	return Options{Events: true, Insight: true, BootDeadline: 3 * time.Minute}
}

// Cloud is a runner.Cloud in memory.
type Cloud struct {
	options Options

	mu       sync.Mutex
	recipe   string
	prepared bool
	machines map[string]*machine
	watchers map[chan struct{}]bool
	faults   []*fault
	calls    []Call
	births   []runner.Birth
	deletes  []string
	creating int
	most     int
}

var (
	_ runner.Cloud     = (*Cloud)(nil)
	_ runner.Inspector = (*Cloud)(nil)
)

// New returns an empty cloud.
func New(options Options) *Cloud {
	return &Cloud{
		options:  options,
		machines: make(map[string]*machine),
		watchers: make(map[chan struct{}]bool),
	}
}

// Prepare implements runner.Cloud. The hash covers scope, group, labels and
// what SetRecipe set.
func (c *Cloud) Prepare(ctx context.Context, want runner.Want) (runner.Template, error) {
	after, err := c.begin(ctx, "Prepare", "", c.options.CallTakes)
	if err != nil {
		return runner.Template{}, err
	}
	c.mu.Lock()
	c.prepared = true
	recipe := c.recipe
	c.mu.Unlock()
	return runner.Template{
		Hash:         hash(want, recipe),
		Want:         want,
		BootDeadline: c.options.BootDeadline,
	}, after
}

// List implements runner.Cloud: the world as it was Options.Lag ago, without
// the instances that have not appeared yet.
func (c *Cloud) List(ctx context.Context) ([]runner.Instance, error) {
	after, err := c.begin(ctx, "List", "", c.options.CallTakes)
	if err != nil {
		return nil, err
	}
	if after != nil {
		return nil, after
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var list []runner.Instance
	for _, m := range c.machines {
		if now.Before(m.appears) {
			continue
		}
		if seen, ok := m.at(now.Add(-c.options.Lag)); ok {
			list = append(list, c.told(seen))
		}
	}
	slices.SortFunc(list, byName)
	return list, nil
}

// Inspect implements runner.Inspector, where Options.Inspection is set.
func (c *Cloud) Inspect(ctx context.Context, instance runner.Instance) (runner.Instance, error) {
	after, err := c.begin(ctx, "Inspect", instance.Name, c.options.CallTakes)
	if err != nil || after != nil {
		return instance, cmp.Or(err, after)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[instance.Name]
	if !c.options.Inspection || m == nil || m.gone() || m.last().Status != runner.StatusRunning {
		return instance, fmt.Errorf("cannot look into %s: %w", instance.Name, runner.ErrUnreachable)
	}
	now := m.last()
	instance.Working, instance.TookJob, instance.PreJobDone, instance.Completed = now.Working, now.TookJob, now.PreJobDone, now.Completed
	return instance, nil
}

// Create implements runner.Cloud.
func (c *Cloud) Create(ctx context.Context, template runner.Template, birth runner.Birth) error {
	c.count(1)
	defer c.count(-1)
	after, err := c.begin(ctx, "Create", birth.Name, c.options.CreateTakes)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.prepared {
		return fmt.Errorf("cannot create %s: the cloud is not prepared", birth.Name)
	}
	if m := c.machines[birth.Name]; m != nil && !m.gone() {
		return fmt.Errorf("cannot create %s: %w", birth.Name, runner.ErrExists)
	}
	c.births = append(c.births, birth)
	m := newMachine(birth, template.Hash, c.options.AppearsAfter)
	c.machines[birth.Name] = m
	c.changed()
	time.AfterFunc(c.options.BootTakes, func() { c.run(m) })
	return after
}

// PreJobDone implements runner.Cloud. Without Options.Insight or Inspection it learns of the
// instance's end alone.
func (c *Cloud) PreJobDone(ctx context.Context, name string) error {
	after, err := c.begin(ctx, "PreJobDone", name, c.options.CallTakes)
	if err != nil {
		return err
	}
	for {
		c.mu.Lock()
		m := c.machines[name]
		if m == nil || m.gone() || (c.options.Insight || c.options.Inspection) && m.last().PreJobDone {
			c.mu.Unlock()
			return after
		}
		change := m.change
		c.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for the pre-job script of %s: %w", name, ctx.Err())
		}
	}
}

// Collect implements runner.Cloud: it returns what SetRemains set.
func (c *Cloud) Collect(ctx context.Context, name, dir string) (runner.Remains, error) {
	after, err := c.begin(ctx, "Collect", name, c.options.CallTakes)
	if err != nil {
		return runner.Remains{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[name]
	if m == nil || m.gone() {
		return runner.Remains{}, fmt.Errorf("cannot collect from %s: %w", name, runner.ErrNotFound)
	}
	return m.remains, after
}

// Delete implements runner.Cloud. It returns when the deletion has begun.
func (c *Cloud) Delete(ctx context.Context, name string) error {
	after, err := c.begin(ctx, "Delete", name, c.options.CallTakes)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[name]
	if m == nil || m.gone() {
		return after
	}
	if m.last().Foreign {
		return fmt.Errorf("cannot delete %s: %w", name, runner.ErrForbidden)
	}
	if m.last().Status == runner.StatusDeleting {
		return after
	}
	c.deletes = append(c.deletes, name)
	m.record(func(i *runner.Instance) { i.Status = runner.StatusDeleting })
	c.changed()
	if c.options.DeleteTakes == 0 {
		c.end(m)
		return after
	}
	time.AfterFunc(c.options.DeleteTakes, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end(m)
	})
	return after
}

// Watch implements runner.Cloud.
func (c *Cloud) Watch(ctx context.Context) (<-chan struct{}, error) {
	after, err := c.begin(ctx, "Watch", "", 0)
	if err != nil || after != nil || !c.options.Events {
		return nil, cmp.Or(err, after)
	}
	watcher := make(chan struct{}, 1)
	c.mu.Lock()
	c.watchers[watcher] = true
	c.mu.Unlock()
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lose(watcher)
	})
	return watcher, nil
}

// Destroy implements runner.Cloud.
func (c *Cloud) Destroy(ctx context.Context) error {
	after, err := c.begin(ctx, "Destroy", "", c.options.CallTakes)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, m := range c.machines {
		if !m.gone() && !m.last().Foreign {
			return fmt.Errorf("cannot destroy the cloud's network: %s is still there: %w", name, runner.ErrBusy)
		}
	}
	c.prepared = false
	return after
}

// told is what the cloud says about an instance, which is less than the truth
// where it has no insight.
func (c *Cloud) told(i runner.Instance) runner.Instance {
	if c.options.Insight {
		return i
	}
	i.Working = runner.WorkingUnknown
	i.TookJob, i.PreJobDone, i.Completed = false, false, false
	return i
}

func hash(want runner.Want, recipe string) string {
	labels := make([]string, 0, len(want.Labels))
	for _, label := range want.Labels {
		labels = append(labels, strings.ToLower(label))
	}
	slices.Sort(labels)
	// A slice of strings, strings and a struct of strings: Marshal can't fail.
	inputs, _ := json.Marshal([]any{want.Scope, want.Group, labels, recipe})
	sum := sha256.Sum256(inputs)
	return hex.EncodeToString(sum[:8])
}

func byName(a, b runner.Instance) int {
	return strings.Compare(a.Name, b.Name)
}
