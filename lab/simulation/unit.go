package simulation

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github-runner/charm"
	"github-runner/charm/fleet"
	"github-runner/charm/github"
	"github-runner/charm/juju"
	"github-runner/charm/lxd"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	charmunit "github-runner/charm/unit"
)

// The unit that all lives are about.
const (
	unitName  = "app/1"
	appName   = "app"
	modelUUID = "0a1b2c3d-0000-4000-8000-000000000000"
)

var owner = runner.Owner{ModelUUID: modelUUID, Unit: unitName}

// The relation debug-ssh and its remote unit.
const (
	debugEndpoint = "debug-ssh"
	relationID    = debugEndpoint + ":1"
	debugServer   = "tmate/0"
)

// storageID is Juju's name for the storage that is attached.
const storageID = "runner/0"

// unit is Juju's side of the unit: what it knows, and what it was told.
type unit struct {
	world *world
	story *story

	mu      sync.Mutex
	config  map[string]any
	proxies juju.Proxies
	storage string // where it is mounted; "": none is attached
	// debugHost is what the remote unit of debug-ssh sent; "": there is none.
	debugHost string
	build     string
	dying     bool // juju remove-unit was said
	status    juju.Status
	message   string
	running   *process
	// made is told of each effect of a process.
	made func(call string)
	// agentMade is told of each effect of an agent.
	agentMade func(call string)
	// late, rushed and agentKilled are told of an agent that took too long to
	// end, of a process that makes calls without end, and of a killed agent.
	late        func(took time.Duration)
	rushed      func(calls int)
	agentKilled func()
	// waited is told how long a call waited for the unit.
	waited func(call, time.Duration)
	pebble *pebble
	// agentKill is when the next agent dies.
	agentKill Kill
	// asked is when the running process was asked to end.
	asked time.Time
	// spoiled are the good values of options with bad ones.
	spoiled map[string]any
	secret  keptSecret
	// read is the configuration as a process read it last.
	read map[string]any
	// lastGood is the last state of a configuration without problems.
	lastGood state.CharmState
}

// call is a hook or action to be run.
type call struct {
	kind   juju.Kind
	name   string
	params map[string]any
	kill   Kill
}

func hook(name string) call { return call{kind: juju.KindHook, name: name} }

func (c call) String() string {
	text := string(c.kind) + " " + c.name
	if mode, ok := c.params["mode"]; ok {
		text += fmt.Sprintf(" mode=%v", mode)
	}
	return text
}

// outcome is how a call ended.
type outcome struct {
	killed bool
	// asked: it was asked to end, and did so after that time.
	asked bool
	ended time.Duration
	err   error
	// failure is what an action failed with.
	failure string
	results map[string]string
	took    time.Duration
	effects int
	// open is how many connections are still open.
	open func() int
}

// run runs a call to its end, as Juju's agent starts the charm's program.
func (u *unit) run(ctx context.Context, c call) outcome {
	began := time.Now()
	ctx, p := newProcess(ctx, u.world.network, c.kill, func(when string) { u.story.tell("KILL of %s: %s", c, when) }, u.made)
	p.rushed = u.rushed
	defer p.exit()
	tools := &tools{unit: u, process: p, call: c, results: map[string]string{}}
	log := u.story.logger(p, c.name)
	u.mu.Lock()
	u.running, u.asked = p, time.Time{}
	program := &charm.Charm{
		Context:  juju.Context{Kind: c.kind, Name: c.name, Unit: unitName, App: appName, ModelUUID: modelUUID, Proxies: u.proxies},
		Model:    tools,
		Operator: tools,
		Machine:  "amd64",
		Root:     u.world.root(),
		Build:    u.build,
		Assemble: u.assemble(p),
		Meeting:  queue{u.meeting(p), func(took time.Duration) { u.waited(c, took) }},
		Services: u.supervise(p),
		Log:      log,
	}
	if strings.HasPrefix(c.name, "runner-storage-") {
		program.Context.Storage = juju.Storage{ID: storageID}
	}
	if strings.HasPrefix(c.name, debugEndpoint) {
		program.Context.Relation = juju.Relation{Endpoint: debugEndpoint, ID: relationID, RemoteApp: "tmate"}
	}
	u.mu.Unlock()
	u.story.tell("%s begins", c)
	err := program.Run(ctx)
	u.mu.Lock()
	u.running = nil
	asked := u.asked
	u.mu.Unlock()
	o := outcome{
		killed: p.isDead(), asked: !asked.IsZero(), ended: time.Since(asked), err: err, failure: tools.failure, results: tools.results,
		took: time.Since(began), effects: p.effects, open: p.open,
	}
	u.tell(c, o)
	return o
}

// meeting is where a process meets the unit's others.
func (u *unit) meeting(p *process) meeting {
	return meeting{process: p, kernel: &u.world.kernel, folder: u.world.folder()}
}

// program is the build of the charm that Juju has unpacked.
func (u *unit) program() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.build
}

// tell adds how a call ended to the story.
func (u *unit) tell(c call, o outcome) {
	took := o.took.Round(time.Millisecond)
	switch status, message := u.shown(); {
	case o.killed:
		u.story.tell("%s was killed after %s", c, took)
	case o.err != nil:
		u.story.quote("error", o.err.Error())
		u.story.tell("%s failed after %s", c, took)
	default:
		u.story.tell("%s ends after %s; %s: %s", c, took, status, message)
	}
}

// shown is the status as Juju shows it.
func (u *unit) shown() (juju.Status, string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status, u.message
}

// end ends the running process: kill at once, or by asking it.
func (u *unit) end(kill bool) {
	u.mu.Lock()
	p := u.running
	if u.asked.IsZero() {
		u.asked = time.Now()
	}
	u.mu.Unlock()
	switch {
	case p == nil:
	case kill:
		p.die("at once")
	default:
		u.story.tell("SIGTERM")
		p.end()
	}
}

// set changes an option; nil unsets it.
func (u *unit) set(option string, value any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.spoiled, option)
	u.change(option, value)
}

// change changes an option; the lock is held.
func (u *unit) change(option string, value any) {
	if value == nil {
		delete(u.config, option)
		return
	}
	u.config[option] = value
}

// spoil sets an option to a bad value, until mend.
func (u *unit) spoil(option string, value any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spoiled == nil {
		u.spoiled = map[string]any{}
	}
	if _, already := u.spoiled[option]; !already {
		u.spoiled[option] = u.config[option]
	}
	u.change(option, value)
}

// needsAPerson reports whether an option has a bad value, or the unit says that it is
// blocked: by an option whose value is good, and not to be followed just now.
func (u *unit) needsAPerson() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.spoiled) > 0 || u.status == juju.Blocked
}

// mend gives the options that were spoiled, and the secret, their good values
// back.
func (u *unit) mend() {
	u.mu.Lock()
	spoiled := u.spoiled
	u.spoiled = nil
	u.secret.token, u.secret.withheld = goodToken, nil
	u.mu.Unlock()
	for option, value := range spoiled {
		u.set(option, value)
	}
}

// relate sets what the debug-ssh relation's remote unit sent; "" ends the relation.
func (u *unit) relate(host string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.debugHost = host
}

// die is what Juju knows once the unit is to be removed.
func (u *unit) die() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dying = true
}

// mount mounts storage at a place; "" unmounts it.
func (u *unit) mount(storage string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.storage = storage
}

// refresh replaces the charm's program by the next build.
func (u *unit) refresh() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.build += "+"
}

// assemble returns the assembling of a fleet whose calls are the process's.
func (u *unit) assemble(p *process) func(state.CharmState, charmunit.Materials) (charmunit.Fleet, error) {
	assembler := fleet.Assembler{
		Root: u.world.root(), App: appName, Version: "simulated",
		Socket: u.world.lxdSocket(),
		Host: lxd.Host{
			Dial: p.dial(u.world.lxdSocket()), Carry: p.carry("LXD"),
			Processes: u.world.path("proc"), Unwatched: true,
		},
		GitHub:    github.Way{Dial: p.dial(gitHubAddress), Carry: p.carry("GitHub")},
		OpenStack: u.world.wayToOpenStack(p),
	}
	return func(s state.CharmState, m charmunit.Materials) (charmunit.Fleet, error) {
		save := m.Save
		m.Save = func(memory runner.Memory) error {
			return p.effect("state.json", func() error { return save(memory) })
		}
		return assembler.Assemble(s, m)
	}
}

// tools are Juju's hook tools for one process.
type tools struct {
	unit    *unit
	process *process
	call    call
	results map[string]string
	failure string
}

// effect is a tool that changes something at Juju's.
func (t *tools) effect(tool string, do func()) error {
	return t.process.effect(tool, func() error {
		t.unit.mu.Lock()
		defer t.unit.mu.Unlock()
		do()
		return nil
	})
}

// Config implements charm.Model.
func (t *tools) Config(context.Context) (config map[string]any, err error) {
	err = t.effect("config-get", func() {
		config = maps.Clone(t.unit.config)
		t.unit.read = config
		t.unit.inForce()
	})
	return config, err
}

// StorageIDs implements charm.Model.
func (t *tools) StorageIDs(context.Context, string) (ids []string, err error) {
	err = t.effect("storage-list", func() {
		if t.unit.storage != "" {
			ids = []string{storageID}
		}
	})
	return ids, err
}

// StorageLocation implements charm.Model.
func (t *tools) StorageLocation(context.Context, string) (location string, err error) {
	err = t.effect("storage-get", func() { location = t.unit.storage })
	return location, err
}

// Dying implements charm.Model.
func (t *tools) Dying(context.Context, string) (dying bool, err error) {
	err = t.effect("goal-state", func() { dying = t.unit.dying })
	return dying, err
}

// RelationIDs implements charm.Model.
func (t *tools) RelationIDs(_ context.Context, endpoint string) (ids []string, err error) {
	err = t.effect("relation-ids", func() {
		if endpoint == debugEndpoint && t.unit.debugHost != "" {
			ids = []string{relationID}
		}
	})
	return ids, err
}

// RelationUnits implements charm.Model.
func (t *tools) RelationUnits(context.Context, string) ([]string, error) {
	return []string{debugServer}, t.effect("relation-list", func() {})
}

// RelationUnitData implements charm.Model.
func (t *tools) RelationUnitData(context.Context, string, string) (data map[string]string, err error) {
	err = t.effect("relation-get", func() {
		data = map[string]string{"host": t.unit.debugHost, "port": "10022", "rsa_fingerprint": "SHA256:abc", "ed25519_fingerprint": "SHA256:def"}
	})
	return data, err
}

// SetStatus implements charm.Operator.
func (t *tools) SetStatus(_ context.Context, status juju.Status, message string) error {
	t.quote("status", string(status)+": "+message)
	return t.effect("status-set", func() { t.unit.status, t.unit.message = status, message })
}

// SetApplicationVersion implements charm.Operator.
func (t *tools) SetApplicationVersion(_ context.Context, version string) error {
	t.quote("version", version)
	return t.effect("application-version-set", func() {})
}

// ActionParams implements charm.Operator.
func (t *tools) ActionParams(context.Context) (params map[string]any, err error) {
	err = t.effect("action-get", func() { params = maps.Clone(t.call.params) })
	return params, err
}

// ActionLog implements charm.Operator.
func (t *tools) ActionLog(_ context.Context, message string) error {
	t.quote("action-log", message)
	return t.effect("action-log", func() {})
}

// SetActionResults implements charm.Operator.
func (t *tools) SetActionResults(_ context.Context, results map[string]string) error {
	var shown []string
	for key, value := range results {
		shown = append(shown, key+"="+value)
	}
	t.quote("results", strings.Join(shown, " "))
	return t.effect("action-set", func() { maps.Copy(t.results, results) })
}

// FailAction implements charm.Operator.
func (t *tools) FailAction(_ context.Context, message string) error {
	t.quote("action-fail", message)
	return t.effect("action-fail", func() { t.failure = message })
}

func (t *tools) quote(who, text string) {
	if !t.process.isDead() {
		t.unit.story.quote(who, text)
	}
}

var _ interface {
	charm.Model
	charm.Operator
} = (*tools)(nil)
