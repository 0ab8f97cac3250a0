package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/policy"
	"github-runner/charm/state"
	"github-runner/charm/unitdir"
	lab "github-runner/lab/github"
)

const unitFolder = "github-runner-0-8b7a"

// testUnit is a unit's folder with a state in force.
type testUnit struct {
	*unitdir.Dir
	t      *testing.T
	server *httptest.Server
	github *lab.Server
	root   string
}

func newUnit(t *testing.T) testUnit {
	t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	server, err := lab.New(lab.Options{Log: logrus.NewEntry(silent)})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	root := t.TempDir()
	dir, err := unitdir.Open(root, unitFolder)
	if err != nil {
		t.Fatal(err)
	}
	return testUnit{dir, t, listener, server, root}
}

func (u testUnit) apply(config map[string]any) {
	u.t.Helper()
	all := map[string]any{"path": "acme/widgets", "token": "ghp_first", "github-url": u.server.URL}
	for key, value := range config {
		all[key] = value
	}
	made, err := state.New(state.Source{Config: all, Machine: "amd64", ModelUUID: "f6d5e1a0-0000-4000-8000-000000000000", Unit: "github-runner/0"})
	if err != nil {
		u.t.Fatal(err)
	}
	encoded, err := state.Encode(made)
	if err != nil {
		u.t.Fatal(err)
	}
	past, err := u.ReadState()
	if err != nil {
		u.t.Fatal(err)
	}
	past.Applied = encoded
	if err := u.WriteState(past); err != nil {
		u.t.Fatal(err)
	}
}

func TestAppliedGitHubFollowsTheState(t *testing.T) {
	u := newUnit(t)
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	applied := &appliedGitHub{dir: u.Dir, log: logrus.NewEntry(silent)}
	defer applied.close()
	if _, err := applied.github(); err == nil {
		t.Error("there is a GitHub without a state")
	}
	u.apply(nil)
	first, err := applied.github()
	if err != nil || !first.Serves("acme/widgets") || first.Serves("acme/other") {
		t.Fatalf("of the first state: %v", err)
	}
	past, err := u.ReadState()
	if err != nil {
		t.Fatal(err)
	}
	past.Seen = map[string]time.Time{"x": time.Now()}
	if err := u.WriteState(past); err != nil {
		t.Fatal(err)
	}
	if again, err := applied.github(); again != first || err != nil {
		t.Errorf("what the unit saw makes another GitHub: %v", err)
	}
	u.apply(map[string]any{"path": "acme"})
	moved, err := applied.github()
	if err != nil || !moved.Serves("acme/other") {
		t.Errorf("after a change of the path: %v", err)
	}
	if _, err := u.github.AddFault(lab.Fault{Kind: "revoked", Token: "ghp_first"}); err != nil {
		t.Fatal(err)
	}
	if err := moved.Check(t.Context()); err == nil {
		t.Error("a revoked token is good")
	}
	u.apply(map[string]any{"path": "acme", "token": "ghp_second"})
	rotated, err := applied.github()
	if err != nil {
		t.Fatal(err)
	}
	if err := rotated.Check(t.Context()); err != nil {
		t.Errorf("after a change of the token: %v", err)
	}
	if err := os.WriteFile(u.Path("state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if last, err := applied.github(); err != nil || last != rotated {
		t.Errorf("with a corrupt state the last one does not hold: %v", err)
	}
	if _, err := os.Lstat(u.Path("state.json")); err != nil {
		t.Errorf("the corrupt state was moved: %v", err)
	}
}

func TestPolicyRole(t *testing.T) {
	u := newUnit(t)
	t.Setenv(rootVariable, u.root)
	for _, args := range [][]string{nil, {"--unit", "../x"}, {"--unit", "gone"}, {"--unit", unitFolder}} {
		if err := servePolicy(t.Context(), args); err == nil {
			t.Errorf("policy %q is taken", args)
		}
	}
	u.apply(nil)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- servePolicy(ctx, []string{"--unit", unitFolder}) }()
	for range 200 {
		if health(t.Context(), []string{"repo-policy", "--unit", unitFolder}) == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	token, err := policy.TokensIn(u.Path(policy.Folder)).Issue("somebody")
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("POST", "http://unit/push/check-run", strings.NewReader(`{"repository_name": "acme/widgets"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return u.Dial(ctx, policy.Socket)
		},
	}}
	// The first job comes while the unit's state is spoiled: what it was holds.
	good, err := os.ReadFile(u.Path("state.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(u.Path("state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("the check answers %s", response.Status)
	}
	if err := os.WriteFile(u.Path("state.json"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := servePolicy(t.Context(), []string{"--unit", unitFolder}); err == nil {
		t.Error("a second one serves the same unit")
	}
	// That GitHub refuses the token is not mended by a new start.
	if _, err := u.github.AddFault(lab.Fault{Kind: "revoked"}); err != nil {
		t.Fatal(err)
	}
	if err := health(t.Context(), []string{"repo-policy", "--unit", unitFolder}); err != nil {
		t.Errorf("health while GitHub refuses the token: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}
