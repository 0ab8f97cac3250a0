package openstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/guest"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/faults"
	"github-runner/lab/openstack"
	"github-runner/lab/pipe"
)

var (
	home    = runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}
	mine    = runner.Owner{ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000", Unit: "app/1"}
	theirs  = runner.Owner{ModelUUID: "ffffffff-0000-4000-8000-000000000000", Unit: "app/1"}
	ten     = runner.Owner{ModelUUID: mine.ModelUUID, Unit: "app/10"}
	manager = netip.MustParsePrefix("10.20.0.1/32")
)

// yard is an emulated OpenStack with clouds that use it, in a bubble of time.
type yard struct {
	*testing.T
	*openstack.Server
	network *pipe.Network
	// timing is the emulation's.
	timing openstack.Timing
	// born is when the test began.
	born time.Time
}

// inYard runs a test in a bubble with an emulation that serves.
func inYard(t *testing.T, options openstack.Options, test func(y *yard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if options.Timing == (openstack.Timing{}) {
			options.Timing = openstack.Quick()
		}
		p := pipe.NewNetwork()
		options.Open, options.Address, options.Log = p.Listen, "cloud:5000", silence()
		server, err := openstack.New(options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- server.Serve(ctx, func() { close(ready) }) }()
		<-ready
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the emulation ends with %v", err)
			}
		}()
		test(&yard{T: t, Server: server, network: p, timing: options.Timing, born: time.Now()})
	})
}

func silence() *logrus.Entry {
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	return logrus.NewEntry(quiet)
}

// unit is a cloud of one unit, and the calls that it makes.
type unit struct {
	*Cloud
	yard  *yard
	calls *calls
}

// unit returns the cloud of a unit in the project lab.
func (y *yard) unit(owner runner.Owner, changes ...func(*Config)) *unit {
	y.Helper()
	calls := &calls{}
	log := silence()
	log.Logger.SetLevel(logrus.DebugLevel)
	log.Logger.AddHook(calls)
	config := Config{
		Owner: owner, Keys: keys(y.T), Clouds: secret.New(y.CloudsYAML("lab", "lab")), Flavor: "m1.small", Image: "noble", Network: "lab",
		ManagerAddresses: []netip.Prefix{manager}, Dial: y.network.Dial, Log: log,
	}
	for _, change := range changes {
		change(&config)
	}
	cloud, err := New(config)
	if err != nil {
		y.Fatal(err)
	}
	y.Cleanup(cloud.Close)
	return &unit{Cloud: cloud, yard: y, calls: calls}
}

// keys are a unit's SSH keys.
func keys(t testing.TB) guest.Keys {
	t.Helper()
	made, err := guest.LoadKeys(filepath.Join(t.TempDir(), "guest-secret"))
	must(t, err)
	return made
}

// calls counts calls by what the cloud tells its log of them.
type calls struct {
	mu   sync.Mutex
	seen []string
}

func (c *calls) Levels() []logrus.Level { return []logrus.Level{logrus.DebugLevel} }

func (c *calls) Fire(entry *logrus.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if method, ok := entry.Data["method"]; ok {
		c.seen = append(c.seen, fmt.Sprint(method, " ", entry.Data["path"]))
	}
	return nil
}

// take returns the calls since it was last asked.
func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

// count is how many calls have begun with a text since they were last taken.
func (c *calls) count(begin string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.seen {
		if strings.HasPrefix(one, begin) {
			n++
		}
	}
	return n
}

func want(count int) runner.Want {
	return runner.Want{Count: count, Scope: home, Labels: []string{"self-hosted", "X64"}}
}

func (u *unit) prepare(count int) runner.Template {
	u.yard.Helper()
	template, err := u.Prepare(u.yard.Context(), want(count))
	must(u.yard.T, err)
	return template
}

// birth is what a new runner of the unit gets.
func (u *unit) birth() runner.Birth {
	return runner.Birth{Name: u.config.Owner.NewName(), Scope: home, RunnerID: 7, JIT: secret.New("and0LWJsb2I=")}
}

// create makes a server and returns its name.
func (u *unit) create() string {
	u.yard.Helper()
	birth := u.birth()
	must(u.yard.T, u.Create(u.yard.Context(), u.prepare(1), birth))
	return birth.Name
}

func (u *unit) list() []runner.Instance {
	u.yard.Helper()
	all, err := u.List(u.yard.Context())
	must(u.yard.T, err)
	return all
}

// one is the only instance of the unit.
func (u *unit) one() runner.Instance {
	u.yard.Helper()
	all := u.list()
	if len(all) != 1 {
		u.yard.Fatalf("there are %+v", all)
	}
	return all[0]
}

// services are what tests use of the unit's session, to do what others do.
func (u *unit) services() services {
	u.yard.Helper()
	in, err := u.session.open(u.yard.Context())
	must(u.yard.T, err)
	return in
}

// wait lets time pass.
func (y *yard) wait(d time.Duration) {
	time.Sleep(d) // of the bubble's fake clock
	synctest.Wait()
}

// built waits until a server that was ordered is there.
func (y *yard) built() { y.wait(y.timing.Build) }

func (y *yard) fault(f faults.Fault) {
	y.Helper()
	_, err := y.AddFault(f)
	must(y.T, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect checks an error's kind and words.
func expect(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("the error is %v, want %v", err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error is %q, without %q", err, word)
		}
	}
}
