package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
	"github-runner/lab/slowcloud"
)

const build = "test"

// stage is a unit with an agent, on a cloud and a GitHub in memory.
type stage struct {
	*testing.T
	dir    *unitdir.Dir
	cloud  *slowcloud.Cloud
	github *github
	log    *logrus.Entry
	images *maker // nil where the cloud makes no images

	mu    sync.Mutex
	built []state.CharmState // fleets that were assembled
	spoil error              // why none can be
	ended chan error
	end   context.CancelFunc
}

// newStage makes a unit that wants three runners; its agent does not run yet.
func newStage(t *testing.T) *stage {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	s := &stage{T: t, cloud: slowcloud.New(slowcloud.Fast()), log: logrus.NewEntry(log)}
	s.github = &github{cloud: s.cloud, known: map[int64]runner.Registration{}}
	dir, err := unitdir.Open(t.TempDir(), "github-runner-0-8b7a")
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	s.apply(func(config map[string]any) {})
	return s
}

// apply does what a hook does with a changed configuration.
func (s *stage) apply(change func(config map[string]any)) {
	s.Helper()
	s.applySource(func(source *state.Source) { change(source.Config) })
}

// applySource does what a hook does with whatever Juju says.
func (s *stage) applySource(change func(*state.Source)) {
	s.Helper()
	source := state.Source{
		Config:  map[string]any{"path": "acme/widgets", "token": "ghp_example", "virtual-machines": 3, "lxd-instance-type": "container"},
		Machine: "amd64", Unit: "github-runner/0", ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000",
	}
	change(&source)
	wanted, err := state.New(source)
	if err != nil {
		s.Fatal(err)
	}
	s.as("a hook", func(hold *unit.Hold) {
		var err error
		if hold.Past.Applied, err = state.Encode(wanted); err != nil {
			s.Fatal(err)
		}
		hold.Past.Build = build
		if err := errors.Join(hold.SaveFormerCharm(takeover.Memory{Done: true}), hold.Write()); err != nil {
			s.Fatal(err)
		}
	})
}

// as does something while it holds the unit, as hooks do.
func (s *stage) as(who string, do func(*unit.Hold)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	hold, err := unit.Take(ctx, s.dir, s.log)
	if err != nil {
		s.Fatalf("%s: %v", who, err)
	}
	defer hold.Release()
	if took := time.Since(began); took > 5*time.Second {
		s.Errorf("%s waited %v for the unit", who, took)
	}
	do(hold)
}

// start starts the agent.
func (s *stage) start() {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	s.ended, s.end = make(chan error, 1), cancel
	config := Config{Dir: s.dir, Build: build, Assemble: s.assemble, Log: s.log}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.ended <- Run(ctx, config)
	}()
	s.Cleanup(func() {
		cancel()
		<-gone
	})
}

// stop ends the agent as SIGTERM does.
func (s *stage) stop() {
	s.Helper()
	s.end()
	if err := s.wait(); err != nil {
		s.Errorf("the agent ended with %v", err)
	}
}

func (s *stage) wait() error {
	s.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(time.Minute):
		s.Fatal("the agent does not end")
		return nil
	}
}

func (s *stage) assemble(wanted state.CharmState, m unit.Materials) (unit.Fleet, error) {
	s.mu.Lock()
	s.built = append(s.built, wanted)
	spoil := s.spoil
	s.mu.Unlock()
	if spoil != nil {
		return unit.Fleet{}, spoil
	}
	limits := runner.DefaultLimits(2)
	limits.Settle, limits.Poll = 0, 10*time.Millisecond
	fleet := unit.Fleet{
		Manager: runner.NewManager(runner.Config{
			Owner: wanted.Owner, Cloud: s.cloud, GitHub: s.github,
			Application: func(context.Context, runner.Scope) (runner.Application, error) {
				return runner.Application{Version: "2.330.0"}, nil
			},
			LogDir: m.Dir.LogPath, Limits: limits, Memory: m.Memory, Save: m.Save, Log: m.Log,
		}),
		Budget: func() unit.Budget { return unit.Budget{Limit: 5000, Remaining: 4000} },
		Close:  func() {},
	}
	if s.images != nil {
		fleet.Images = s.images
	}
	return fleet, nil
}

// spoilFleets makes the next fleets not be built; nil ends that.
func (s *stage) spoilFleets(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoil = err
}

// running are the names of the machines that run.
func (s *stage) running() []string {
	var names []string
	for _, instance := range s.cloud.Truth() {
		if instance.Status == runner.StatusRunning {
			names = append(names, instance.Name)
		}
	}
	slices.Sort(names)
	return names
}

// until waits for something that the agent brings about.
func (s *stage) until(what string, holds func() bool) {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			status, _ := json.Marshal(s.status())
			s.Fatalf("%s never came about; the agent says %s", what, status)
		}
		// What is waited for is in a cloud, a GitHub and another goroutine, and tells
		// nobody; real sockets keep the agent out of a bubble of fake time.
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *stage) untilRunning(n int) []string {
	s.Helper()
	s.until(fmt.Sprintf("%d runners", n), func() bool { return len(s.running()) == n && s.github.count() == n })
	return s.running()
}

// get asks the agent.
func (s *stage) get(path string) (*http.Response, error) {
	return s.ask(s.Context(), http.MethodGet, path)
}

func (s *stage) ask(ctx context.Context, method, path string) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.dir.Dial(ctx, unit.AgentSocket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(request)
}

func (s *stage) status() Status {
	var status Status
	response, err := s.get("/status")
	if err != nil {
		return status
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		s.Errorf("the status is no JSON: %v", err)
	}
	return status
}

// github knows which of the cloud's machines are registered.
type github struct {
	cloud *slowcloud.Cloud

	mu    sync.Mutex
	last  int64
	lists int
	away  error
	known map[int64]runner.Registration
}

func (g *github) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.known)
}

func (g *github) looks() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lists
}

func (g *github) setAway(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away = err
}

func (g *github) Runners(_ context.Context, scope runner.Scope, prefix string) ([]runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lists++
	var list []runner.Registration
	for _, r := range g.known {
		if r.Scope == scope && strings.HasPrefix(r.Name, prefix) {
			list = append(list, r)
		}
	}
	return list, g.away
}

func (g *github) Ready(context.Context, runner.Scope, string) error { return nil }

func (g *github) Runner(_ context.Context, _ runner.Scope, id int64) (runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.known[id]
	if !ok {
		return r, runner.ErrNotFound
	}
	return r, g.away
}

func (g *github) Register(_ context.Context, scope runner.Scope, request runner.Request) (runner.Registration, secret.Text, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away != nil {
		return runner.Registration{}, secret.Text{}, g.away
	}
	g.last++
	r := runner.Registration{ID: g.last, Name: request.Name, Scope: scope, Online: true}
	g.known[r.ID] = r
	return r, secret.New("jit"), nil
}

func (g *github) Deregister(_ context.Context, _ runner.Scope, id int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away == nil {
		delete(g.known, id)
	}
	return g.away
}

// finish lets a runner do its job to the end.
func (s *stage) finish(name string) {
	s.Helper()
	s.github.mu.Lock()
	for id, r := range s.github.known {
		if r.Name == name {
			delete(s.github.known, id)
		}
	}
	s.github.mu.Unlock()
	if err := errors.Join(s.cloud.TakeJob(name), s.cloud.Complete(name), s.cloud.Stop(name)); err != nil {
		s.Fatal(err)
	}
}
