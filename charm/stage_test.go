package charm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unit"
	"github-runner/lab/slowcloud"
)

// stage is a unit between a Juju, a GitHub and a cloud in memory; its folder is
// a real one. Each call is a process of its own: nothing but the folder and the
// world outlives it.
type stage struct {
	*testing.T
	root     string
	config   map[string]any
	params   map[string]any
	storage  string
	charmDir string
	build    string
	former   *former
	// known is kept as what is known of a former charm; recalled is what the
	// last fleet was told of it.
	known     *takeover.Memory
	recalled  takeover.Memory
	relations relations
	// sent is what the unit itself wrote into relations, by writes calls; unwritable is
	// why it can't.
	sent       map[string]map[string]string
	writes     int
	unwritable error
	about      juju.Relation // what a relation hook is about
	wanted     state.CharmState
	installed  bool
	dying      bool // the unit is being removed
	cloud      *slowcloud.Cloud
	openstack  *slowcloud.Cloud // where the configuration chooses OpenStack
	github     *github
	services   *residents                        // nil where hooks alone do the work
	formerly   map[runner.Scope]state.Credential // the former credentials that a fleet got
	secrets    map[string]map[string]secret.Text // by URI, newest content
	refusal    error                             // of all secrets
	queue      runner.Queue
	queueErr   error

	images *images // nil where the cloud makes none

	status  juju.Status
	message string
	log     []string // of the last action
	results map[string]string
	failure string
}

// unitOfStage is the unit's name.
const unitOfStage = "github-runner/0"

func newStage(t *testing.T) *stage {
	cloud, openstack := slowcloud.New(slowcloud.Fast()), slowcloud.New(slowcloud.Fast())
	return &stage{
		T: t, root: t.TempDir(), sent: map[string]map[string]string{}, installed: true, cloud: cloud, openstack: openstack,
		github: &github{clouds: []*slowcloud.Cloud{cloud, openstack}, known: map[int64]runner.Registration{}},
		config: map[string]any{"path": "acme/widgets", "token": "ghp_example", "virtual-machines": int64(2), "lxd-instance-type": "container"},
	}
}

// quiet is a log that nobody reads.
func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

// call lets Juju run a hook or action.
func (s *stage) call(kind juju.Kind, name string) error {
	s.results, s.failure, s.log = map[string]string{}, "", nil
	c := &Charm{
		Context:    juju.Context{Kind: kind, Name: name, Unit: unitOfStage, App: "github-runner", CharmDir: s.charmDir, ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000", Relation: s.about, Storage: juju.Storage{ID: "runner/0"}},
		Model:      s,
		Operator:   s,
		Neighbours: s,
		Machine:    "amd64",
		Root:       s.root,
		Build:      cmp.Or(s.build, "test"),
		Assemble:   s.assemble,
		Log:        quiet(),
	}
	if s.services != nil {
		c.Services = s.services.of
	}
	return c.Run(s.Context())
}

func (s *stage) hook(name string) {
	s.Helper()
	if err := s.call(juju.KindHook, name); err != nil {
		s.Fatalf("hook %s: %v", name, err)
	}
}

func (s *stage) action(name string) {
	s.Helper()
	if err := s.call(juju.KindAction, name); err != nil {
		s.Fatalf("action %s: %v", name, err)
	}
}

func (s *stage) assemble(wanted state.CharmState, m unit.Materials) (unit.Fleet, error) {
	s.formerly, s.wanted, s.recalled = m.FormerCredentials, wanted, m.FormerCharm
	if s.known != nil {
		if err := m.SaveFormerCharm(*s.known); err != nil {
			return unit.Fleet{}, err
		}
		s.known = nil
	}
	limits := runner.DefaultLimits(2)
	limits.Settle = 0
	limits.Drain, limits.Poll = 100*time.Millisecond, 10*time.Millisecond
	cloud := s.cloud
	if wanted.OnOpenStack() {
		cloud = s.openstack
	}
	manager := runner.NewManager(runner.Config{
		Owner: wanted.Owner, Cloud: cloud, GitHub: s.github,
		Application: func(context.Context, runner.Scope) (runner.Application, error) { return runner.Application{}, nil },
		LogDir:      m.Dir.LogPath,
		Limits:      limits, Memory: m.Memory, Save: m.Save, Progress: m.Progress, Log: m.Log,
	})
	queue := func(context.Context, runner.Scope) (runner.Queue, error) { return s.queue, s.queueErr }
	fleet := unit.Fleet{Manager: manager, Host: s, Queue: queue, Version: func() string { return "" }, Close: func() {}}
	if wanted.OnOpenStack() {
		fleet.Host = nil // nothing of it has to be installed
	}
	if s.former != nil {
		fleet.Former = s.former
	}
	if s.images != nil {
		fleet.Images = s.images
	}
	return fleet, nil
}

// The stage is the unit's host, too.
func (s *stage) Install(context.Context, func(string)) error {
	if !s.installed {
		return runner.Trouble{Advice: "install LXD by hand"}
	}
	return nil
}

func (s *stage) Installed() bool { return s.installed }

// The stage is its own model and operator.
func (s *stage) Config(context.Context) (map[string]any, error) { return s.config, nil }

func (s *stage) Secret(_ context.Context, uri string) (map[string]secret.Text, error) {
	content, ok := s.secrets[uri]
	if s.refusal == nil && !ok {
		return nil, juju.ErrSecretMissing
	}
	return content, s.refusal
}

func (s *stage) SetStatus(_ context.Context, status juju.Status, message string) error {
	s.status, s.message = status, message
	return nil
}

func (s *stage) SetApplicationVersion(context.Context, string) error { return nil }

func (s *stage) ActionParams(context.Context) (map[string]any, error) { return s.params, nil }

func (s *stage) ActionLog(_ context.Context, message string) error {
	s.log = append(s.log, message)
	return nil
}

func (s *stage) SetActionResults(_ context.Context, results map[string]string) error {
	for key, value := range results {
		s.results[key] = value
	}
	return nil
}

func (s *stage) FailAction(_ context.Context, message string) error {
	s.failure = message
	return nil
}

func (s *stage) Dying(context.Context, string) (bool, error) { return s.dying, nil }

func (s *stage) StorageIDs(context.Context, string) ([]string, error) {
	if s.storage == "" {
		return nil, nil
	}
	return []string{"runner/0"}, nil
}

func (s *stage) StorageLocation(context.Context, string) (string, error) { return s.storage, nil }

func (s *stage) expectStatus(status juju.Status, part string) {
	s.Helper()
	if s.status != status || !strings.Contains(s.message, part) {
		s.Errorf("status %s: %q, want %s with %q", s.status, s.message, status, part)
	}
}

func (s *stage) expectMachines(n int) {
	s.Helper()
	if machines := s.cloud.Truth(); len(machines) != n {
		s.Errorf("%d machines, want %d", len(machines), n)
	}
}

// github knows registrations; one is online while its machine runs.
type github struct {
	clouds []*slowcloud.Cloud

	mu    sync.Mutex
	last  int64
	known map[int64]runner.Registration
	err   error
}

func (g *github) Runners(_ context.Context, scope runner.Scope, prefix string) ([]runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []runner.Registration
	for _, r := range g.known {
		if r.Scope == scope && strings.HasPrefix(r.Name, prefix) {
			list = append(list, g.seen(r))
		}
	}
	return list, g.err
}

func (g *github) seen(r runner.Registration) runner.Registration {
	for _, cloud := range g.clouds {
		for _, machine := range cloud.Truth() {
			if machine.Name == r.Name {
				r.Online = machine.Status == runner.StatusRunning
				r.Busy = machine.Working == runner.WorkingYes
			}
		}
	}
	return r
}

func (g *github) Ready(context.Context, runner.Scope, string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *github) Runner(_ context.Context, _ runner.Scope, id int64) (runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.known[id]
	if !ok {
		return r, fmt.Errorf("cannot find runner %d: %w", id, runner.ErrNotFound)
	}
	return g.seen(r), g.err
}

func (g *github) Register(_ context.Context, scope runner.Scope, request runner.Request) (runner.Registration, secret.Text, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return runner.Registration{}, secret.Text{}, g.err
	}
	g.last++
	r := runner.Registration{ID: g.last, Name: request.Name, Scope: scope}
	g.known[r.ID] = r
	return r, secret.New("jit"), nil
}

func (g *github) Deregister(_ context.Context, _ runner.Scope, id int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	if r, ok := g.known[id]; ok && g.seen(r).Busy {
		return fmt.Errorf("cannot deregister %s: %w", r.Name, runner.ErrBusy)
	}
	delete(g.known, id)
	return nil
}
