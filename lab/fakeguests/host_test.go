package fakeguests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/sirupsen/logrus"

	"github-runner/charm/cloudinit"
	"github-runner/charm/secret"
	"github-runner/lab/guests"
	"github-runner/lab/runnerapp"
)

// nova has one server, as an administrator sees it.
type nova struct {
	mu     sync.Mutex
	status string // "": there is none
	user   string
	// addresses are what is shown of the server's.
	addresses any
	// stopped is closed when somebody stops the server.
	stopped chan struct{}
}

func (n *nova) set(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status = status
}

func (n *nova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/servers/1/action":
		n.status = "SHUTOFF"
		close(n.stopped)
		w.WriteHeader(http.StatusAccepted)
	case r.URL.Path == "/servers/detail" && r.URL.Query().Get("all_tenants") == "true" && r.Header.Get("X-OpenStack-Nova-API-Version") == userDataVersion:
		found := []map[string]any{}
		if n.status != "" && r.URL.Query().Get("marker") == "" {
			found = append(found, map[string]any{"id": "1", "name": "runner-1", "status": n.status, "OS-EXT-SRV-ATTR:user_data": n.user, "addresses": n.addresses})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"servers": found})
	default:
		http.Error(w, r.Method+" "+r.URL.String(), http.StatusTeapot)
	}
}

// session is GitHub's, with one job.
type session struct {
	jobs     chan runnerapp.Job
	finished chan string
}

func (s *session) Online(context.Context) error { return nil }
func (s *session) NextJob(ctx context.Context) (runnerapp.Job, error) {
	select {
	case job := <-s.jobs:
		return job, nil
	case <-ctx.Done():
		return runnerapp.Job{}, ctx.Err()
	}
}
func (s *session) Work(context.Context, runnerapp.Job) (string, error) { return "success", nil }
func (s *session) Log(context.Context, int64, string) error            { return nil }
func (s *session) Finish(_ context.Context, _ int64, conclusion string) error {
	s.finished <- conclusion
	return nil
}
func (s *session) Close() error { return nil }

// plain is a machine without an SSH server.
var plain = cloudinit.Machine{Name: "runner-1", JIT: secret.New("blob")}

func newHost(t *testing.T, machine cloudinit.Machine) (*Host, *nova, *session) {
	t.Helper()
	text, err := cloudinit.UserData(machine)
	if err != nil {
		t.Fatal(err)
	}
	n := &nova{
		status: "ACTIVE", user: base64.StdEncoding.EncodeToString(text), stopped: make(chan struct{}),
		addresses: map[string]any{"lab": []any{map[string]any{"addr": "127.0.0.1", "version": 4}}},
	}
	api := httptest.NewServer(n)
	t.Cleanup(api.Close)
	github := &session{jobs: make(chan runnerapp.Job, 1), finished: make(chan string, 1)}
	h := New(Options{
		Listen: func(jit string) (guests.Listener, error) {
			if jit != "blob" {
				t.Errorf("the application is given %q", jit)
			}
			return github, nil
		},
		Log: logrus.NewEntry(logrus.New()),
	})
	h.use(&gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Type: "compute", Endpoint: api.URL + "/"})
	t.Cleanup(h.end)
	return h, n, github
}

// wait waits for something that comes of itself; the test fails when it does not come.
func wait[T any](t *testing.T, what string, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not within a minute", what)
	}
	return got
}

func look(t *testing.T, h *Host) {
	t.Helper()
	if err := h.look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestGuestDoesItsJobAndShutsItsServerOff(t *testing.T) {
	h, n, github := newHost(t, plain)
	github.jobs <- runnerapp.Job{Name: "build"}
	look(t, h)
	if got := wait(t, "the job", github.finished); got != "success" {
		t.Errorf("the job ended as %q", got)
	}
	wait(t, "the power-off", n.stopped)
	guest, err := h.inside("runner-1")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := guest.File(cloudinit.ExchangeDir + "/" + cloudinit.PostJobMetricsFile); !strings.Contains(got, `"normal"`) {
		t.Errorf("it leaves %q", got)
	}
	look(t, h)
	if err := guest.Kill(); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("killing the application of a server that is off: %v", err)
	}
}

func TestGuestEndsWithItsServer(t *testing.T) {
	for _, status := range []string{"SHUTOFF", "ERROR", ""} {
		h, n, _ := newHost(t, plain)
		look(t, h)
		v := h.servers["1"]
		first := v.guest
		n.set(status)
		look(t, h)
		wait(t, "the end with "+status, first.ctx.Done())
		if status == "" {
			if _, err := h.inside("runner-1"); err == nil {
				t.Error("there is a guest without a server")
			}
		}
		select {
		case <-n.stopped:
			t.Errorf("with %q: a server was stopped that was not on", status)
		default:
		}
	}
}

func TestUserData(t *testing.T) {
	bad := "%%%"
	if got := decoded(nil) + decoded(&bad); got != "" {
		t.Errorf("without user-data, or with what is none: %q", got)
	}
}
