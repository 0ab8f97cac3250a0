package slowcloud

import (
	"time"

	"github-runner/charm/runner"
)

// machine is one instance with its whole history, because List tells of the
// past.
type machine struct {
	birth   runner.Birth
	appears time.Time
	history []version
	remains runner.Remains
	// change is closed, and replaced, at every change.
	change chan struct{}
}

// version is the machine from one moment on.
type version struct {
	from     time.Time
	instance runner.Instance
	gone     bool
}

func newMachine(birth runner.Birth, hash string, appearsAfter time.Duration) *machine {
	now := time.Now()
	return &machine{
		birth:   birth,
		appears: now.Add(appearsAfter),
		change:  make(chan struct{}),
		history: []version{{from: now, instance: runner.Instance{
			Name:     birth.Name,
			Status:   runner.StatusCreating,
			Scope:    birth.Scope,
			RunnerID: birth.RunnerID,
			Created:  now,
			Hash:     hash,
			Working:  runner.WorkingNo,
		}}},
	}
}

// at returns the machine as it was at a moment, false if it was not there.
func (m *machine) at(moment time.Time) (runner.Instance, bool) {
	for i := len(m.history) - 1; i >= 0; i-- {
		if v := m.history[i]; !v.from.After(moment) {
			return v.instance, !v.gone
		}
	}
	return runner.Instance{}, false
}

func (m *machine) last() runner.Instance {
	return m.history[len(m.history)-1].instance
}

func (m *machine) gone() bool {
	return m.history[len(m.history)-1].gone
}

func (m *machine) record(change func(*runner.Instance)) {
	next := version{from: time.Now(), instance: m.last()}
	change(&next.instance)
	m.push(next)
}

func (m *machine) push(v version) {
	m.history = append(m.history, v)
	close(m.change)
	m.change = make(chan struct{})
}

// run ends the boot, unless somebody changed the machine in the meantime.
func (c *Cloud) run(m *machine) {
	c.mu.Lock()
	if m.gone() || m.last().Status != runner.StatusCreating {
		c.mu.Unlock()
		return
	}
	m.record(func(i *runner.Instance) { i.Status = runner.StatusRunning })
	c.changed()
	c.mu.Unlock()
	if c.options.OnRunning != nil {
		c.options.OnRunning(m.birth)
	}
}

// end makes the machine go away; c.mu is held.
func (c *Cloud) end(m *machine) {
	if m.gone() {
		return
	}
	m.push(version{from: time.Now(), instance: m.last(), gone: true})
	c.changed()
	if c.options.OnGone != nil {
		go c.options.OnGone(m.birth.Name)
	}
}

// changed wakes the watchers; c.mu is held.
func (c *Cloud) changed() {
	for watcher := range c.watchers {
		select {
		case watcher <- struct{}{}:
		default:
		}
	}
}

// lose closes a watcher once; c.mu is held.
func (c *Cloud) lose(watcher chan struct{}) {
	if c.watchers[watcher] {
		delete(c.watchers, watcher)
		close(watcher)
	}
}
