package lxd

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"

	"github-runner/charm/cloudinit"
	"github-runner/lab/runnerapp"
)

// soon bounds every wait of these tests: it passes only when they fail.
const soon = time.Minute

// github is GitHub as the guests see it: one session per JIT configuration.
type github struct {
	mu       sync.Mutex
	sessions map[string]*session
}

// session returns the session of a JIT configuration, which may come later.
func (g *github) session(jit string) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sessions == nil {
		g.sessions = make(map[string]*session)
	}
	if g.sessions[jit] == nil {
		g.sessions[jit] = &session{
			online: make(chan struct{}, 8), jobs: make(chan runnerapp.Job, 1),
			gone: make(chan struct{}), end: make(chan struct{}), finished: make(chan string, 1),
		}
	}
	return g.sessions[jit]
}

type session struct {
	online   chan struct{}
	jobs     chan runnerapp.Job
	gone     chan struct{}
	end      chan struct{}
	finished chan string
}

func (s *session) Online(context.Context) error {
	s.online <- struct{}{}
	return nil
}

func (s *session) NextJob(ctx context.Context) (runnerapp.Job, error) {
	select {
	case job := <-s.jobs:
		return job, nil
	case <-s.gone:
		return runnerapp.Job{}, runnerapp.ErrGone
	case <-ctx.Done():
		return runnerapp.Job{}, ctx.Err()
	}
}

func (s *session) Work(ctx context.Context, _ runnerapp.Job) (string, error) {
	select {
	case <-s.end:
		return runnerapp.Success, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *session) Log(context.Context, int64, string) error { return nil }

func (s *session) Finish(_ context.Context, _ int64, conclusion string) error {
	s.finished <- conclusion
	return nil
}

func (s *session) Close() error { return nil }

// daemon is an emulation that serves, with a client and an exchange folder.
type daemon struct {
	*Server
	t        *testing.T
	github   *github
	client   client.InstanceServer
	exchange string
	events   chan string
}

// startDaemon starts an emulation with a pool, a network and the profile
// "runner", and ends it with the test.
func startDaemon(t *testing.T) *daemon {
	t.Helper()
	return furnish(serveIn(t, shortDir(t)))
}

// furnish gives an emulation a pool, a network and the profile "runner".
func furnish(d *daemon) *daemon {
	d.t.Helper()
	must(d.t, d.client.CreateStoragePool(api.StoragePoolsPost{Name: "pool", Driver: "dir"}))
	must(d.t, d.client.CreateNetwork(api.NetworksPost{Name: "br-test", Type: "bridge"}))
	must(d.t, d.client.CreateProfile(api.ProfilesPost{Name: "runner", ProfilePut: api.ProfilePut{Devices: devices{
		"root": {"type": "disk", "path": "/", "pool": "pool"},
		"eth0": {"type": "nic", "network": "br-test", "name": "eth0"},
	}}}))
	return d
}

// shortDir is a folder whose path leaves room for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lxd")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serveIn starts an emulation in a directory.
func serveIn(t *testing.T, dir string) *daemon {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	d := &daemon{t: t, github: &github{}, exchange: filepath.Join(dir, "exchange"), events: make(chan string, 4096)}
	server, err := New(Options{
		Dir: dir, Timing: Quick(), Log: logrus.NewEntry(log),
		Listen: func(jit string) (Listener, error) { return d.github.session(jit), nil },
	})
	must(t, err)
	d.Server = server
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- server.Serve(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	<-ready
	d.client, err = client.ConnectLXDUnixWithContext(ctx, server.Socket(), &client.ConnectionArgs{SkipGetServer: true})
	must(t, err)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait waits for an operation and returns its failure.
func (d *daemon) wait(operation client.Operation, err error) error {
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	return operation.WaitContext(ctx)
}

// create creates an instance whose guest has a JIT configuration, if any.
func (d *daemon) create(name, jit string) error {
	dir := filepath.Join(d.exchange, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	data, err := userData(jit)
	if err != nil {
		return err
	}
	return d.wait(d.client.CreateInstance(api.InstancesPost{
		Name: name, Source: api.InstanceSource{Type: "image", Alias: "noble"},
		InstancePut: api.InstancePut{
			Profiles: []string{"runner"},
			Config:   map[string]string{"cloud-init.user-data": data},
			Devices:  devices{"exchange": {"type": "disk", "source": dir, "path": cloudinit.ExchangeDir}},
		},
	}))
}

func (d *daemon) power(name, action string) error {
	return d.wait(d.client.UpdateInstanceState(name, api.InstanceStatePut{Action: action, Timeout: -1, Force: true}, ""))
}

// launch creates and starts a runner that is online when it returns.
func (d *daemon) launch(name string) *session {
	d.t.Helper()
	session := d.github.session("jit of " + name)
	must(d.t, d.create(name, "jit of "+name))
	must(d.t, d.power(name, "start"))
	await(d.t, "the runner is online", session.online)
	return session
}

func userData(jit string) (string, error) {
	if jit == "" {
		return "", nil
	}
	document, err := yaml.Marshal(map[string]any{"write_files": []map[string]string{
		{"path": "/etc/other", "content": "x"},
		{"path": cloudinit.JITPath, "content": jit},
	}})
	return "#cloud-config\n" + string(document), err
}

func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(soon):
		t.Fatalf("waited in vain until %s", what)
	}
	panic("unreachable")
}

// watch collects lifecycle events as "action source" from now on.
func (d *daemon) watch() {
	d.t.Helper()
	listener, err := d.client.GetEvents()
	must(d.t, err)
	_, err = listener.AddHandler([]string{"lifecycle"}, func(event api.Event) {
		var lifecycle api.EventLifecycle
		if err := jsonInto(event.Metadata, &lifecycle); err == nil {
			d.events <- lifecycle.Action + " " + filepath.Base(lifecycle.Source)
		}
	})
	must(d.t, err)
	d.t.Cleanup(listener.Disconnect)
}

// until waits for an event.
func (d *daemon) until(event string) {
	d.t.Helper()
	deadline := time.After(soon)
	for {
		select {
		case have := <-d.events:
			if have == event {
				return
			}
		case <-deadline:
			d.t.Fatalf("waited in vain for event %q", event)
		}
	}
}

func (d *daemon) status(name string) string {
	d.t.Helper()
	state, _, err := d.client.GetInstanceState(name)
	must(d.t, err)
	return state.Status
}

// file is a file of an instance's exchange folder; "" and false when missing.
func (d *daemon) file(name, file string) (string, bool) {
	d.t.Helper()
	content, err := os.ReadFile(filepath.Join(d.exchange, name, file))
	if os.IsNotExist(err) {
		return "", false
	}
	must(d.t, err)
	return string(content), true
}

// call sends one request without a client's help.
func call(handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, "http://lxd"+path, bodyOf(body)))
	return recorder
}

func name(prefix string, n int) string { return fmt.Sprintf("%s-%04d", prefix, n) }
