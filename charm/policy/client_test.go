package policy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// A token that the client gets lets a runner ask, once.
func TestClientGetsTokensThatRunnersCanUse(t *testing.T) {
	s := newService(t, compliant())
	server := httptest.NewServer(s.Service)
	defer server.Close()
	client := Client{URL: server.URL, Token: s.token}
	token, err := client.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status, body := s.ask("POST", "/push/check-run", token.Reveal(), pushBody); status != http.StatusNoContent {
		t.Errorf("the runner's check: %d %s", status, body)
	}
	if status, _ := s.ask("POST", "/push/check-run", token.Reveal(), pushBody); status != http.StatusUnauthorized {
		t.Errorf("the runner's second check: %d", status)
	}
	client.Token = secret.New("hunter2")
	_, err = client.Issue(t.Context())
	if !errors.Is(err, runner.ErrUnauthorized) || !strings.Contains(err.Error(), "repo-policy-compliance-token is refused") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("with a wrong token: %v", err)
	}
}

func TestClientTakesNothingButATokenForOne(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"an error":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hunter2", http.StatusBadGateway) },
		"a page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hunter2</html>")) },
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"too short": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("a", 15))) },
		"too long":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("a", 257))) },
		"two lines": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("0123456789abcdef\n0123456789abcdef"))
		},
		"without end": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("a", 1<<20))) },
		"another host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			_, err := Client{URL: server.URL, Token: secret.New("t0ken")}.Issue(t.Context())
			if !errors.Is(err, runner.ErrUnreachable) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Issue: %v", err)
			}
		})
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if _, err := (Client{URL: gone.URL, Token: secret.New("t0ken")}).Issue(t.Context()); !errors.Is(err, runner.ErrUnreachable) {
		t.Errorf("without a service: %v", err)
	}
}
