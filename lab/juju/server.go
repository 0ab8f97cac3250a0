// Package juju is a stand-in for Juju: models with applications and units on
// this machine, whose hooks and actions run as Juju's agent runs them, hook tools
// that answer as Juju's do, and a command line with Juju's arguments and output.
//
// One process serves it all, over one unix socket: commands of the operator,
// calls of the hook tools, and a way to kill the hook that runs.
package juju

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// Version is what the stand-in claims to be.
	Version = "4.0.15"

	firstModel = "lab"
	controller = "lab"
)

// Options say where a Server lives and what surrounds its units.
type Options struct {
	// Dir is the lab's directory, absolute. All files are below Dir/juju, and the
	// socket is Dir/juju.sock.
	Dir string
	// GitHubURL becomes the default of the charms' option github-url; empty
	// leaves it alone.
	GitHubURL string
	// Variables are added to the environment of every hook and action.
	Variables []string
	// Program is run under the names of the hook tools; it has to call ToolMain.
	Program string
	// FirstRetry is the wait before a failed hook is run again; it doubles with
	// each attempt, up to 32 times. 0 means 1 s.
	FirstRetry time.Duration
	Log        *logrus.Entry
}

// Server is a running Juju stand-in.
type Server struct {
	options Options
	log     *logrus.Entry
	logFile *logFile

	// Guards all below, and what it leads to. It is never held over a hook, a
	// process or a connection.
	mu       sync.Mutex
	state    *state
	agents   map[*unit]*agent
	contexts map[string]*hookContext
	// changed is closed, and replaced, at every change.
	changed chan struct{}

	ctx  context.Context
	work sync.WaitGroup
}

// SocketPath is where the stand-in of a lab's directory listens.
func SocketPath(dir string) string {
	return filepath.Join(dir, "juju.sock")
}

// NewServer reads the models of an earlier Server in the same directory, or
// makes a first one. Run starts it.
func NewServer(options Options) (*Server, error) {
	if options.FirstRetry == 0 {
		options.FirstRetry = time.Second
	}
	s := &Server{
		options:  options,
		log:      options.Log,
		agents:   map[*unit]*agent{},
		contexts: map[string]*hookContext{},
		changed:  make(chan struct{}),
	}
	for _, dir := range []string{s.path(), s.path("charms"), s.path("tools")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the model's directory: %w", err)
		}
	}
	if err := s.linkTools(); err != nil {
		return nil, fmt.Errorf("cannot make the hook tools: %w", err)
	}
	var err error
	if s.state, err = loadState(s.statePath()); err != nil {
		return nil, err
	}
	if s.logFile, err = openLog(s.path("debug.log")); err != nil {
		return nil, err
	}
	return s, nil
}

// linkTools fills the folder that stands first in a hook's PATH.
func (s *Server) linkTools() error {
	for name := range hookTools {
		link := s.path("tools", name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(s.options.Program, link); err != nil {
			return err
		}
	}
	return nil
}

// Run serves until ctx ends; ready is called when the socket answers. It ends
// the hooks that run, with SIGTERM first.
func (s *Server) Run(ctx context.Context, ready func()) error {
	defer s.logFile.Close()
	path := SocketPath(s.options.Dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot serve the model: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("cannot serve the model: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:     s.handler(),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	s.start(ctx)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ready()

	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	cancel()
	s.work.Wait()
	server.Close()
	if err != nil {
		return fmt.Errorf("cannot serve the model: %w", err)
	}
	return nil
}

// start starts the agents of the units that an earlier process left.
func (s *Server) start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
	for _, m := range s.state.Models {
		for _, a := range m.Applications {
			for _, u := range a.sortedUnits() {
				s.startAgent(m, a, u)
			}
		}
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /command", s.handleCommand)
	mux.HandleFunc("POST /tool", s.handleTool)
	mux.HandleFunc("POST /kill-hook", s.handleKill)
	return mux
}

// handleKill kills the hook or action that runs, of one unit or of all.
func (s *Server) handleKill(w http.ResponseWriter, r *http.Request) {
	killed, err := s.killHooks(r.Context(), r.FormValue("unit"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusGatewayTimeout)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"killed": killed})
}

// path is a path below the stand-in's own directory.
func (s *Server) path(elements ...string) string {
	return filepath.Join(append([]string{s.options.Dir, "juju"}, elements...)...)
}

func (s *Server) statePath() string {
	return s.path("state.json")
}

// update tells everybody who waits that something changed, and stores it. The
// lock is held.
func (s *Server) update() {
	close(s.changed)
	s.changed = make(chan struct{})
	content, err := json.MarshalIndent(s.state, "", "  ")
	if err == nil {
		err = replaceFile(s.statePath(), content, 0o600)
	}
	if err != nil {
		s.log.WithError(err).Error("cannot store the model")
	}
}

// waitFor waits until condition, called with the lock held, is true.
func (s *Server) waitFor(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		met, changed := condition(), s.changed
		s.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
