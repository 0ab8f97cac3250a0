package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

const (
	// retryAfter is how soon Juju tries a failed hook again.
	retryAfter = 5 * time.Second
	// patience is how many update-status hooks a unit without trouble may take
	// until all is as it should be.
	patience = 6
)

// Report is what came of a life.
type Report struct {
	Plan       Plan
	Violations []string
	// Story tells all that happened.
	Story string
	// Hooks, Jobs, Faults and Kills count what the life had.
	Hooks, Jobs, Faults, Kills int
	// AgentKills counts the agents that were killed, Refills the free slots of
	// which it was checked how soon the agent filled them.
	AgentKills, Refills int
	// AgentEffects counts the effects that agents had from the time that a kill
	// was announced to the next call.
	AgentEffects int
	// Asked is how many hooks and actions were asked to end.
	Asked int
	// Effects are how many effects each call had that was not killed, by its
	// name; of several calls of a name, the most.
	Effects map[string]int
	// Statuses are what each hook left as the unit's status.
	Statuses  []Shown
	Simulated time.Duration
}

// Shown is a status at a time.
type Shown struct {
	At      time.Duration
	Status  juju.Status
	Message string
}

// life is one unit's, from its deployment to its removal.
type life struct {
	plan  Plan
	story *story
	world *world
	unit  *unit

	mu      sync.Mutex
	pending []call
	wake    chan struct{}
	victim  string // the call that is to be killed; "": the next
	kill    Kill
	calm    bool
	// troubled is when something was last wrong.
	troubled time.Time
	// acted is when the agent last had an effect.
	acted time.Time
	// rebooted is when the machine was last started again.
	rebooted time.Time
	excuses  []excuse
	// limited is until when the agent heeds a rate limit: as long as GitHub said,
	// although the calm ends it.
	limited time.Time
	// ended are when runners' applications ended.
	ended []time.Time

	calls   atomic.Int32 // that have begun
	inCall  atomic.Bool
	counts  atomic.Bool  // effects of the agent are counted
	faults  atomic.Int32 // in force
	unrest  atomic.Int32 // counts what came and went
	hangs   atomic.Bool  // an operation of LXD's may hang until LXD restarts
	stopped atomic.Bool  // the unit's removal has begun
	removed atomic.Bool
	forgot  atomic.Bool // state.json was lost since the last hook
	blind   bool        // something was wrong at the end of the removal

	// machine is held while a call runs, and while something happens to the
	// machine that no call may run beside.
	machine chan struct{}

	report Report
}

// Live lives through a plan in an empty folder. It must be called in a bubble of
// testing/synctest, and leaves no goroutine behind.
func Live(dir string, plan Plan) Report {
	story := newStory()
	l := &life{plan: plan, story: story, wake: make(chan struct{}, 1), machine: make(chan struct{}, 1), report: Report{Plan: plan, Effects: map[string]int{}}}
	if err := l.through(dir); err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
	l.report.Story = story.String()
	l.report.Simulated = time.Since(story.began)
	return l.report
}

func (l *life) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.story.tell("VIOLATION: %s", text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Violations = append(l.report.Violations, text)
}

func (l *life) through(dir string) error {
	var err error
	if l.world, err = newWorld(dir, l.story); err != nil {
		return err
	}
	config, err := l.deployment()
	if err != nil {
		return err
	}
	l.unit = &unit{world: l.world, story: l.story, config: config, proxies: l.plan.Proxies, secret: keptSecret{token: goodToken}, build: "1"}
	l.unit.made, l.unit.late, l.unit.rushed, l.unit.waited = l.checkMade, l.checkGoodbye, l.checkRush, l.checkWait
	l.unit.agentMade, l.unit.agentKilled = l.countAgentEffect, l.countAgentKill
	l.unit.pebble = &pebble{unit: l.unit}
	l.world.guests.ended = func(name string) { go l.checkRefill(name) }
	if err := l.world.switchAgent(!l.plan.Alone); err != nil {
		return err
	}
	var others neighbours
	if l.plan.Neighbours {
		if others, err = l.world.addNeighbours(); err != nil {
			return err
		}
	}
	for _, name := range []string{"install", "config-changed", "start"} {
		l.queue(hook(name))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.direct()
	}()
	l.work()
	<-done
	l.converge()
	l.retire()
	if l.unit.pebble.running() != nil {
		l.violate("the agent outlives its unit")
		l.unit.pebble.powerOff()
	}
	l.judge()
	if l.plan.Neighbours {
		l.checkNeighbours(others)
	}
	return l.world.end()
}

// onlyLXD are the options that matter where the runners are on LXD.
var onlyLXD = map[string]any{"lxd-instance-type": "container", "vm-disk": "1GiB", "image-source": "local"}

// deployment is the configuration that the unit is deployed with.
func (l *life) deployment() (map[string]any, error) {
	config := map[string]any{"github-url": gitHubURL, "base-image": "noble", "image-interval": 0}
	if !l.plan.OpenStack {
		maps.Copy(config, onlyLXD)
	} else if err := l.world.startOpenStack(); err != nil {
		return nil, err
	} else {
		maps.Copy(config, l.world.openStackOptions())
	}
	maps.Copy(config, l.plan.Config)
	return config, nil
}

// direct lets the plan's events happen, each at its time, and ends what is wrong.
func (l *life) direct() {
	for _, event := range l.plan.Events {
		time.Sleep(time.Until(l.story.began.Add(event.At)))
		l.story.tell("EVENT %s", event.Text)
		event.Do(l)
	}
	time.Sleep(time.Until(l.story.began.Add(l.plan.Calm)))
	l.story.tell("CALM")
	l.calmDown()
}

// calmDown ends what is wrong, as an operator would who knows.
func (l *life) calmDown() {
	if l.faults.Load() > 0 {
		l.disturbed() // what went wrong until now has its consequences to come
	}
	l.world.github.ClearFaults(0)
	l.world.daemon().ClearFaults("")
	if l.world.openStack != nil {
		l.world.openStack.ClearFaults("")
	}
	l.unit.mend()
	if l.hangs.Load() {
		if err := l.world.daemon().Restart(context.Background(), time.Second); err != nil {
			l.violate("the simulation itself failed: %v", err)
		}
	}
	l.mu.Lock()
	l.calm = true
	l.kill = Kill{}
	l.faults.Store(0)
	l.mu.Unlock()
	l.killAgent(Kill{})
	l.counts.Store(false)
	l.rouse()
}

// first lets Juju run a call before those that wait.
func (l *life) first(c call) {
	l.mu.Lock()
	l.pending = append([]call{c}, l.pending...)
	l.mu.Unlock()
	l.rouse()
}

// queue lets Juju run a call after those that wait already.
func (l *life) queue(c call) {
	l.mu.Lock()
	l.pending = append(l.pending, c)
	l.mu.Unlock()
	l.rouse()
}

func (l *life) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// work is Juju's agent: it runs one call after the other, and update-status when
// there is none, until all is calm and done.
func (l *life) work() {
	due := time.Now().Add(updateInterval)
	for {
		c, ok := l.next(due)
		if !ok {
			return
		}
		if c.name == "update-status" {
			due = time.Now().Add(updateInterval)
		}
		l.attempt(c)
	}
}

// next is the next call; false when there will be none until things are calm.
func (l *life) next(due time.Time) (call, bool) {
	for {
		l.mu.Lock()
		if len(l.pending) > 0 {
			c := l.pending[0]
			l.pending = l.pending[1:]
			l.mu.Unlock()
			return c, true
		}
		calm, removed := l.calm, l.removed.Load()
		l.mu.Unlock()
		if calm {
			return call{}, false
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-l.wake:
			timer.Stop()
		case <-timer.C:
			if removed {
				due = due.Add(updateInterval)
				continue
			}
			return hook("update-status"), true
		}
	}
}

// attempt runs a call, and a failed hook again until it succeeds.
func (l *life) attempt(c call) {
	pause := retryAfter
	for tries := 1; ; tries++ {
		if l.removed.Load() {
			return
		}
		o := l.run(c)
		if !o.killed && o.err == nil || c.kind == juju.KindAction {
			break
		}
		if tries == 30 {
			l.violate("%s has failed %d times: %v", c, tries, o.err)
			break
		}
		// Juju runs actions beside a hook that fails, and no other hook.
		l.runActions()
		time.Sleep(pause)
		pause = min(2*pause, updateInterval)
	}
	switch c.name {
	case "remove":
		l.blind = l.faults.Load() > 0
		l.removed.Store(true)
	case "runner-storage-detaching":
		l.unit.mount("")
	}
}

// runActions runs the actions that wait.
func (l *life) runActions() {
	for {
		l.mu.Lock()
		at := slices.IndexFunc(l.pending, func(c call) bool { return c.kind == juju.KindAction })
		if at < 0 {
			l.mu.Unlock()
			return
		}
		c := l.pending[at]
		l.pending = slices.Delete(l.pending, at, at+1)
		l.mu.Unlock()
		l.run(c)
	}
}

// takeKill returns when a call dies.
func (l *life) takeKill(name string) Kill {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.victim != "" && l.victim != name {
		return Kill{}
	}
	kill := l.kill
	l.victim, l.kill = "", Kill{}
	return kill
}

// run runs a call once and checks what must hold after each.
func (l *life) run(c call) outcome {
	l.machine <- struct{}{}
	defer func() { <-l.machine }()
	l.report.Hooks++
	l.calls.Add(1)
	l.inCall.Store(true)
	l.counts.Store(false)
	defer l.inCall.Store(false)
	license := l.license(c)
	before := l.unrest.Load()
	c.kill = l.takeKill(c.name)
	o := l.unit.run(context.Background(), c)
	if o.killed || o.asked {
		l.disturbed()
	}
	if o.asked {
		l.report.Asked++
	}
	if o.killed {
		l.report.Kills++
	} else {
		l.report.Effects[c.String()] = max(l.report.Effects[c.String()], o.effects)
	}
	license()
	status, message := l.unit.shown()
	l.report.Statuses = append(l.report.Statuses, Shown{time.Since(l.story.began), status, message})
	if c.name == "runner-storage-detaching" {
		l.disturbed() // the next hook starts runners elsewhere
	}
	l.checkCall(c, o, before == l.unrest.Load() && l.faults.Load() == 0)
	if l.report.Hooks%5 == 0 {
		l.hearAgent()
	}
	return o
}

// hearAgent asks the agent for its status, where one runs: what it says is
// searched for secrets at the end.
func (l *life) hearAgent() {
	if l.unit.pebble.running() == nil {
		return
	}
	text, err := l.unit.askAgent()
	if err != nil {
		l.story.tell("the agent does not answer: %v", err)
		return
	}
	l.story.quote("agent", text)
}

// countAgentEffect is told of each effect of an agent.
func (l *life) countAgentEffect(effect string) {
	l.mu.Lock()
	l.acted = time.Now()
	if l.counts.Load() {
		l.report.AgentEffects++
	}
	l.mu.Unlock()
	l.checkMade(effect)
}

// countAgentKill is told of an agent that was killed.
func (l *life) countAgentKill() {
	l.disturbed()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.AgentKills++
}

// queueJobs lets jobs come.
func (l *life) queueJobs(request github.JobRequest) {
	jobs, err := l.world.github.Queue(request)
	if err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Jobs += len(jobs)
}

// cancelQueued ends the jobs that no runner has.
func (l *life) cancelQueued() {
	var ids []int64
	for _, job := range l.world.github.Jobs() {
		if job.Status == github.Queued && job.Runner == "" {
			ids = append(ids, job.ID)
		}
	}
	if len(ids) > 0 {
		l.world.github.End(ids, runnerapp.Cancelled)
	}
}

// working reports whether a job is at work.
func (l *life) working() bool {
	for _, job := range l.world.github.Jobs() {
		if job.Status != github.Completed && job.Runner != "" {
			return true
		}
	}
	return false
}
