package runner_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/slowcloud"
)

var (
	home  = runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}
	elder = runner.Scope{API: "https://api.github.com", Path: "acme/elder"}
	owner = runner.Owner{ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000", Unit: "github-runner/0"}
)

// fleet is a manager between a cloud and a GitHub that knows that cloud's
// guests: a registration is online while its guest runs.
type fleet struct {
	*testing.T
	cloud   *slowcloud.Cloud
	github  *github
	manager *runner.Manager
	memory  runner.Memory
	journal *journal
	want    runner.Want
	told    string // the last of what was said of progress
	// last and trouble are how the last Tend ended.
	last    runner.Result
	trouble error
	// create stands in for the cloud's Create, where it is set.
	create func(ctx context.Context, template runner.Template, birth runner.Birth) error
	// remove stands in for the cloud's Delete, where it is set.
	remove func(name string) error
	// traces are machines that are gone but for their files.
	traces []string
}

// cloudOfFleet is the fleet's cloud, with another Create.
type cloudOfFleet struct {
	*slowcloud.Cloud
	fleet *fleet
}

func (c cloudOfFleet) Create(ctx context.Context, template runner.Template, birth runner.Birth) error {
	if c.fleet.create != nil {
		return c.fleet.create(ctx, template, birth)
	}
	return c.Cloud.Create(ctx, template, birth)
}

func (c cloudOfFleet) Delete(ctx context.Context, name string) error {
	if c.fleet.remove != nil {
		return c.fleet.remove(name)
	}
	if at := slices.Index(c.fleet.traces, name); at >= 0 {
		c.fleet.traces = slices.Delete(c.fleet.traces, at, at+1)
		return nil
	}
	return c.Cloud.Delete(ctx, name)
}

func (c cloudOfFleet) List(ctx context.Context) ([]runner.Instance, error) {
	list, err := c.Cloud.List(ctx)
	for _, name := range c.fleet.traces {
		list = append(list, runner.Instance{Name: name, Status: runner.StatusTraces})
	}
	return list, err
}

// onEachCloud runs a test on the exact, eventful cloud and on the slow,
// forgetful one, in a bubble where time costs nothing.
func onEachCloud(t *testing.T, test func(*fleet)) {
	t.Helper()
	for name, options := range map[string]slowcloud.Options{"fast": slowcloud.Fast(), "slow": slowcloud.Slow(), "inspected": slowcloud.Inspected()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(newFleet(t, options))
			})
		})
	}
}

// newFleet returns a fleet of three on a cloud.
func newFleet(t *testing.T, options slowcloud.Options) *fleet {
	f := &fleet{T: t, journal: &journal{}}
	f.cloud = slowcloud.New(options)
	f.github = newGitHub(f.cloud)
	f.want = runner.Want{Count: 3, Scope: home, Labels: []string{"self-hosted"}}
	f.restart()
	return f
}

// beforeCreates has something done before each create, told which one it is, from 1;
// where that fails, so does the create. It returns what tells when each one began.
func (f *fleet) beforeCreates(do func(ctx context.Context, nth int) error) (begun func() []time.Time) {
	var mu sync.Mutex
	var times []time.Time
	f.create = func(ctx context.Context, template runner.Template, birth runner.Birth) error {
		mu.Lock()
		times = append(times, time.Now())
		nth := len(times)
		mu.Unlock()
		if err := do(ctx, nth); err != nil {
			return err
		}
		return f.cloud.Create(ctx, template, birth)
	}
	return func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(times)
	}
}

// restart makes a new manager that knows only what the last one saved.
func (f *fleet) restart() {
	log := logrus.New()
	log.SetOutput(io.Discard)
	limits := runner.DefaultLimits(2)
	f.manager = runner.NewManager(runner.Config{
		Owner: owner, Cloud: cloudOfFleet{f.cloud, f}, GitHub: f.github, Journal: f.journal,
		Application: func(context.Context, runner.Scope) (runner.Application, error) {
			return runner.Application{Version: "2.330.0"}, nil
		},
		LogDir:   func(name string) string { return "/logs/" + name },
		Limits:   limits,
		Progress: func(text string) { f.told = text },
		Memory:   f.memory,
		Save:     func(m runner.Memory) error { f.memory = m; return nil },
		Log:      logrus.NewEntry(log),
	})
}

func (f *fleet) reconcile() runner.Result {
	f.Helper()
	result, err := f.manager.Reconcile(f.Context(), f.want, true)
	if err != nil {
		f.Fatalf("reconcile: %v", err)
	}
	return result
}

func (f *fleet) flush(mode runner.FlushMode) runner.FlushResult {
	f.Helper()
	result, err := f.manager.Flush(f.Context(), home, mode)
	if err != nil {
		f.Fatalf("flush: %v", err)
	}
	return result
}

// settle lets the cloud and GitHub come to rest, then reconciles until nothing
// changes, as update-status does.
func (f *fleet) settle() {
	f.Helper()
	for range 6 {
		time.Sleep(5 * time.Minute) // of the bubble's fake clock
		f.reconcile()
	}
}

// running returns the names of the machines that really run.
func (f *fleet) running() []string {
	var names []string
	for _, instance := range f.cloud.Truth() {
		if instance.Status == runner.StatusRunning {
			names = append(names, instance.Name)
		}
	}
	return names
}

func (f *fleet) expectRunning(n int) []string {
	f.Helper()
	names := f.running()
	if len(names) != n {
		f.Errorf("%d machines run (%s), want %d", len(names), strings.Join(names, " "), n)
	}
	return names
}

// expectNothingLeft checks the promise that nothing leaks.
func (f *fleet) expectNothingLeft() {
	f.Helper()
	for _, instance := range f.cloud.Truth() {
		f.Errorf("instance %s is left, %s", instance.Name, instance.Status)
	}
	for _, name := range f.github.names() {
		f.Errorf("registration %s is left", name)
	}
}

// takeJob lets a runner take a job and end its pre-job script.
func (f *fleet) takeJob(name string) {
	f.Helper()
	if err := f.cloud.TakeJob(name); err != nil {
		f.Fatal(err)
	}
	f.github.setBusy(name, true)
	time.Sleep(5 * time.Second) // the slow cloud's list lags
}

// endJob lets a runner's job end: GitHub drops the registration, the machine
// powers off.
func (f *fleet) endJob(name string) {
	f.Helper()
	f.github.drop(name)
	if err := f.cloud.Complete(name); err != nil {
		f.Fatal(err)
	}
	if err := f.cloud.Stop(name); err != nil {
		f.Fatal(err)
	}
	time.Sleep(5 * time.Second) // the slow cloud's list lags
}

// github is GitHub as the manager's interface sees it. lab/github is the
// stand-in that speaks HTTP; this one lives in a bubble of fake time.
type github struct {
	cloud *slowcloud.Cloud

	mu            sync.Mutex
	last          int64
	registrations map[int64]*registration
	away          map[runner.Scope]error
	refuse        func(call, name string) error
	lenient       bool // deregisters a runner that took a job a moment ago
	never         bool // nobody comes online
	lags          bool // the list does not say who is busy
	calls         map[string]int
}

type registration struct {
	runner.Registration
	busy bool
}

func newGitHub(cloud *slowcloud.Cloud) *github {
	return &github{cloud: cloud, registrations: map[int64]*registration{}, away: map[runner.Scope]error{}, calls: map[string]int{}}
}

func (g *github) begin(call, name string, scope runner.Scope) error {
	g.calls[call]++
	if err := g.away[scope]; err != nil {
		return err
	}
	if g.refuse != nil {
		return g.refuse(call, name)
	}
	return nil
}

func (g *github) Runners(_ context.Context, scope runner.Scope, prefix string) ([]runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.begin("list", "", scope); err != nil {
		return nil, err
	}
	var list []runner.Registration
	for _, r := range g.registrations {
		if r.Scope == scope && strings.HasPrefix(r.Name, prefix) {
			list = append(list, g.seen(r))
		}
	}
	return list, nil
}

// seen is the registration with the status that its machine gives it.
func (g *github) seen(r *registration) runner.Registration {
	told := r.Registration
	told.Busy = r.busy && !g.lags
	for _, instance := range g.cloud.Truth() {
		if instance.Name == r.Name && instance.Status == runner.StatusRunning && !g.never {
			told.Online = true
		}
	}
	return told
}

func (g *github) Ready(_ context.Context, scope runner.Scope, _ string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begin("ready", "", scope)
}

func (g *github) Runner(_ context.Context, scope runner.Scope, id int64) (runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.begin("get", "", scope); err != nil {
		return runner.Registration{}, err
	}
	r, ok := g.registrations[id]
	if !ok {
		return runner.Registration{}, fmt.Errorf("runner %d: %w", id, runner.ErrNotFound)
	}
	return g.seen(r), nil
}

func (g *github) Register(_ context.Context, scope runner.Scope, request runner.Request) (runner.Registration, secret.Text, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.begin("register", request.Name, scope); err != nil {
		return runner.Registration{}, secret.Text{}, err
	}
	g.last++
	r := runner.Registration{ID: g.last, Name: request.Name, Labels: request.Labels, Scope: scope}
	g.registrations[r.ID] = &registration{Registration: r}
	return r, secret.New("jit-" + request.Name), nil
}

func (g *github) Deregister(_ context.Context, scope runner.Scope, id int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.registrations[id]
	name := ""
	if ok {
		name = r.Name
	}
	if err := g.begin("deregister", name, scope); err != nil {
		return err
	}
	if ok && r.busy && !g.lenient {
		return fmt.Errorf("runner %s: %w", r.Name, runner.ErrBusy)
	}
	delete(g.registrations, id)
	// Its listener notices, and the machine powers off; so does the watchdog of
	// one that never came online.
	time.AfterFunc(30*time.Second, func() { g.powerOff(name) })
	return nil
}

func (g *github) powerOff(name string) {
	for _, instance := range g.cloud.Truth() {
		if instance.Name == name && instance.Working != runner.WorkingYes {
			g.cloud.Stop(name)
		}
	}
}

func (g *github) byName(name string) *registration {
	for _, r := range g.registrations {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func (g *github) setBusy(name string, busy bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byName(name).busy = busy
}

func (g *github) drop(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.byName(name); r != nil {
		delete(g.registrations, r.ID)
	}
}

func (g *github) setAway(scope runner.Scope, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away[scope] = err
}

func (g *github) set(change func(*github)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

func (g *github) count(call string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[call]
}

func (g *github) names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, r := range g.registrations {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

// journal keeps what a manager tells of its runners' lives.
type journal struct {
	reconciled int
	mu         sync.Mutex
	online     []string
	ended      []string
}

func (j *journal) Online(name string, _ time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.online = append(j.online, name)
}

func (j *journal) Ended(_ context.Context, r runner.Info, _ runner.Remains, _ time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = append(j.ended, r.Name)
}

func (j *journal) Reconciled(runner.Result, time.Duration) { j.reconciled++ }
