package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github-runner/charm/unitdir"
)

func TestHealthIsWhatTheServiceSays(t *testing.T) {
	const key = "github-runner-0-ab12"
	root := t.TempDir()
	t.Setenv("GITHUB_RUNNER_ROOT", root)
	args := []string{"agent", "--unit", key}
	if err := health(t.Context(), args); err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("health of a unit that is gone: %v", err)
	}
	dir, err := unitdir.Open(root, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := health(t.Context(), args); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("health without a service: %v", err)
	}
	listener, err := dir.Listen("agent.sock")
	if err != nil {
		t.Fatal(err)
	}
	var status atomic.Int32
	status.Store(http.StatusNoContent)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/health" {
			t.Errorf("asked for %s %s", r.Method, r.URL)
		}
		w.WriteHeader(int(status.Load()))
	})}
	go server.Serve(listener)
	defer server.Close()
	if err := health(t.Context(), args); err != nil {
		t.Errorf("health of a service that is well: %v", err)
	}
	status.Store(http.StatusServiceUnavailable)
	if err := health(t.Context(), args); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("health of a service that is not well: %v", err)
	}
}

func TestHealthRefuses(t *testing.T) {
	t.Setenv("GITHUB_RUNNER_ROOT", t.TempDir())
	for _, args := range [][]string{nil, {"agent"}, {"agent", "--unit"}, {"agent", "x", "y"}, {"other", "--unit", "x"}, {"agent", "--unit", "../x"}} {
		if err := health(t.Context(), args); err == nil {
			t.Errorf("health %q is taken", args)
		}
	}
}
