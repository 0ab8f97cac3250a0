package github_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	lab "github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

const token = "ghp_0123456789secret"

// world is a GitHub of the lab's on loopback.
type world struct {
	*lab.Server
	t   testing.TB
	url string
}

func newWorld(t testing.TB, options lab.Options) world {
	t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	options.Log = logrus.NewEntry(silent)
	server, err := lab.New(options)
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	return world{server, t, listener.URL}
}

func (w world) client(change func(*github.Options)) *github.Client {
	options := github.Options{Credential: github.Credential{Token: secret.New(token)}}
	if change != nil {
		change(&options)
	}
	client := github.New(options)
	w.t.Cleanup(client.Close)
	return client
}

func (w world) repository() runner.Scope {
	return runner.Scope{API: w.url + "/api/v3", Path: "acme/widgets"}
}

func (w world) organization() runner.Scope {
	return runner.Scope{API: w.url + "/api/v3", Path: "acme"}
}

func (w world) fault(fault lab.Fault) {
	w.t.Helper()
	if _, err := w.AddFault(fault); err != nil {
		w.t.Fatal(err)
	}
}

// calls returns how many calls there were, and how many of them were free.
func (w world) calls() (total, notModified int) {
	for _, calls := range w.Calls() {
		total += calls.Total
		notModified += calls.NotModified
	}
	return total, notModified
}

// busy registers a runner and gives it a job.
func (w world) busy(ctx context.Context, client *github.Client, scope runner.Scope, name string) runner.Registration {
	w.t.Helper()
	made, jit, err := client.Register(ctx, scope, request(name))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	w.t.Cleanup(cancel) // before the server's end, which waits for it
	session, err := runnerapp.Open(jit.Reveal())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := session.Online(ctx); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Queue(lab.JobRequest{}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := session.NextJob(ctx); err != nil {
		w.t.Fatal(err)
	}
	return made
}

func request(name string) runner.Request {
	return runner.Request{Name: name, Labels: []string{"self-hosted", "X64"}}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// application makes the file of a runner application.
func application(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "actions-runner-linux-x64-2.330.0.tar.gz")
	if err := os.WriteFile(path, []byte("an archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// memory is a Cache that can be looked into.
type memory struct {
	mu    sync.Mutex
	data  []byte
	saved int
	aside []byte
	fail  error
}

func (m *memory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data, m.fail
}

func (m *memory) Save(data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data, m.saved = data, m.saved+1
	return m.fail
}

func (m *memory) SetAside(why error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aside, m.data = m.data, nil
	return why
}

// answering is a server that always answers the same.
func answering(t *testing.T, status int, body string) runner.Scope {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return runner.Scope{API: server.URL, Path: "acme/widgets"}
}

func adviceOf(err error) string {
	var trouble runner.Trouble
	errors.As(err, &trouble)
	return trouble.Advice
}

func wantAdvice(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(adviceOf(err), part) {
			t.Errorf("advice %q of %q does not name %q", adviceOf(err), err, part)
		}
	}
}
