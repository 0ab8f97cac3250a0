package acceptance

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sirupsen/logrus"

	"github-runner/charm/github"
	"github-runner/charm/policy"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab"
)

// policyService is a service outside of all units that decides whether jobs may run.
type policyService struct {
	// decide answers while the service is not away; nil until it is started.
	decide http.Handler
	away   atomic.Bool
}

type policyKey struct{}

// ServeHTTP implements http.Handler.
func (p *policyService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.away.Load() {
		http.Error(w, "The service is being mended.", http.StatusServiceUnavailable)
		return
	}
	p.decide.ServeHTTP(w, r)
}

// policyCommand starts a policy service for the owner acme, which sets $POLICY_URL and
// $POLICY_TOKEN, and lets it go away and come back.
func policyCommand(ts *testscript.TestScript, neg bool, args []string) {
	service := ts.Value(policyKey{}).(*policyService)
	order := strings.Join(args, " ")
	switch started := service.decide != nil; {
	case !neg && !started && order == "start":
		ts.Check(service.start(ts))
	case !neg && started && (order == "away" || order == "back"):
		service.away.Store(order == "away")
	default:
		ts.Fatalf("usage: policy-service start, and later policy-service away|back")
	}
}

func (p *policyService) start(ts *testscript.TestScript) error {
	at, err := lab.Open(ts.Getenv("LAB_DIR"))
	if err != nil {
		return err
	}
	dir := ts.MkAbs("policy-service")
	client := github.New(github.Options{Credential: github.Credential{Token: secret.New("ghp_policy")}})
	ts.Defer(client.Close)
	scope := runner.Scope{API: at.GitHubURL + "/api/v3", Path: "acme"}
	service, err := policy.New(policy.Options{
		Dir:    dir,
		GitHub: func() (policy.GitHub, error) { return client.Repositories(scope), nil },
		Log:    logrus.WithField("service", "policy"),
	})
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(dir, "service-token"))
	if err != nil {
		return err
	}
	p.decide = service
	server := httptest.NewServer(p)
	ts.Defer(server.Close)
	ts.Setenv("POLICY_URL", server.URL)
	ts.Setenv("POLICY_TOKEN", strings.TrimSpace(string(token)))
	return nil
}
