package slowcloud

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github-runner/charm/runner"
	"github-runner/lab/clock"
)

// Call is one call that a Cloud got.
type Call struct {
	Method string
	// Name is the instance it was about; empty where there is none.
	Name string
	// At is when it came in.
	At time.Time
}

// Fault makes calls fail.
type Fault struct {
	// Method is the failing method of runner.Cloud: "Create", "List", …
	Method string
	// Name limits the fault to one instance; empty for all.
	Name string
	// Err is what the calls return.
	Err error
	// Times is how many calls fail; 0 for all until ClearFaults.
	Times int
	// LostAnswer lets a call have its effect before it fails.
	LostAnswer bool
	// Takes is how much longer a call takes than others do.
	Takes time.Duration
	// Hangs lets a call wait until its context ends, and then fail with the
	// context's error.
	Hangs bool
}

type fault struct {
	Fault
	left int
}

// AddFault lets the next fitting calls fail. Faults apply in the order in which
// they were added.
func (c *Cloud) AddFault(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &fault{Fault: f, left: f.Times})
}

// ClearFaults ends all faults.
func (c *Cloud) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// SetRecipe changes an input of the template's hash beside Want: an image, say.
func (c *Cloud) SetRecipe(recipe string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recipe = recipe
}

// Change changes an instance as its guest or somebody else would: its status,
// Working, TookJob, PreJobDone, Completed, even its metadata. It fails when
// there is no such instance.
func (c *Cloud) Change(name string, change func(*runner.Instance)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[name]
	if m == nil || m.gone() {
		return fmt.Errorf("cannot change %s: %w", name, runner.ErrNotFound)
	}
	m.record(change)
	c.changed()
	return nil
}

// Stop lets the guest power off.
func (c *Cloud) Stop(name string) error {
	return c.Change(name, func(i *runner.Instance) {
		i.Status, i.Working = runner.StatusStopped, runner.WorkingNo
	})
}

// Fail puts the instance in StatusError, with the cloud's words.
func (c *Cloud) Fail(name, words string) error {
	return c.Change(name, func(i *runner.Instance) {
		i.Status, i.Fault, i.Working = runner.StatusError, words, runner.WorkingNo
	})
}

// TakeJob lets a job arrive: its pre-job script runs from now on.
func (c *Cloud) TakeJob(name string) error {
	return c.Change(name, func(i *runner.Instance) {
		i.TookJob, i.Working = true, runner.WorkingYes
	})
}

// EndPreJob lets the pre-job script leave its marker.
func (c *Cloud) EndPreJob(name string) error {
	return c.Change(name, func(i *runner.Instance) { i.PreJobDone = true })
}

// Complete lets the job end and the runner say that it has run to its end; the
// machine goes on running until Stop.
func (c *Cloud) Complete(name string) error {
	return c.Change(name, func(i *runner.Instance) {
		i.Completed, i.Working = true, runner.WorkingNo
	})
}

// Vanish takes an instance away without anybody having deleted it.
func (c *Cloud) Vanish(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[name]
	if m == nil || m.gone() {
		return fmt.Errorf("cannot make %s vanish: %w", name, runner.ErrNotFound)
	}
	c.end(m)
	return nil
}

// Add puts an instance into the cloud that Create did not make: a foreign one,
// traces, the rest of an earlier life. It appears in List as a created one does.
func (c *Cloud) Add(instance runner.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if instance.Created.IsZero() {
		instance.Created = time.Now()
	}
	birth := runner.Birth{Name: instance.Name, Scope: instance.Scope, RunnerID: instance.RunnerID}
	m := newMachine(birth, instance.Hash, c.options.AppearsAfter)
	m.history[0].instance = instance
	c.machines[instance.Name] = m
	c.changed()
}

// SetRemains sets what Collect finds in an instance.
func (c *Cloud) SetRemains(name string, remains runner.Remains) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.machines[name]
	if m == nil || m.gone() {
		return fmt.Errorf("cannot leave files in %s: %w", name, runner.ErrNotFound)
	}
	m.remains = remains
	return nil
}

// LoseWatches closes the channels of all watches.
func (c *Cloud) LoseWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for watcher := range c.watchers {
		c.lose(watcher)
	}
}

// Truth returns all instances as they are now, sorted by name, whatever List
// tells.
func (c *Cloud) Truth() []runner.Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []runner.Instance
	for _, m := range c.machines {
		if !m.gone() {
			list = append(list, m.last())
		}
	}
	slices.SortFunc(list, byName)
	return list
}

// Calls returns all calls that came in, oldest first.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Created returns the births of all instances that Create made, oldest first.
func (c *Cloud) Created() []runner.Birth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.births)
}

// Deleted returns the names of all instances whose deletion Delete began,
// oldest first.
func (c *Cloud) Deleted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.deletes)
}

// MostCreates returns how many calls of Create were ever under way at once.
func (c *Cloud) MostCreates() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

// Prepared reports whether Prepare was called after the last Destroy.
func (c *Cloud) Prepared() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.prepared
}

// begin records a call, lets its time pass and applies the first fitting fault:
// err ends the call before its effect, after is to be returned after it.
func (c *Cloud) begin(ctx context.Context, method, name string, takes time.Duration) (after, err error) {
	c.mu.Lock()
	c.calls = append(c.calls, Call{Method: method, Name: name, At: time.Now()})
	f := c.takeFault(method, name)
	c.mu.Unlock()
	if f != nil && f.Hangs {
		<-ctx.Done()
		return nil, fmt.Errorf("cannot %s %s: %w", method, name, ctx.Err())
	}
	if f != nil {
		takes += f.Takes
	}
	if err := pass(ctx, takes); err != nil {
		return nil, fmt.Errorf("cannot %s %s: %w", method, name, err)
	}
	switch {
	case f == nil:
		return nil, nil
	case f.LostAnswer:
		return f.Err, nil
	default:
		return nil, f.Err
	}
}

// takeFault uses up one turn of the first fitting fault; c.mu is held.
func (c *Cloud) takeFault(method, name string) *Fault {
	for i, f := range c.faults {
		if f.Method != method || f.Name != "" && f.Name != name {
			continue
		}
		f.left--
		if f.left == 0 {
			c.faults = slices.Delete(c.faults, i, i+1)
		}
		return &f.Fault
	}
	return nil
}

func (c *Cloud) count(change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.creating += change
	c.most = max(c.most, c.creating)
}

func pass(ctx context.Context, takes time.Duration) error {
	if takes == 0 {
		return ctx.Err()
	}
	return clock.Pause(ctx, takes)
}
