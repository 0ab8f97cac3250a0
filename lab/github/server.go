// Package github stands in for GitHub in the lab: the part of its REST API
// that runners are looked after with, a queue of jobs, the other side of the
// stand-in runner application, and faults on request.
//
// It checks what GitHub checks and keeps everything in memory.
package github

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Options is what a Server is made with.
type Options struct {
	// Applications are files named actions-runner-linux-<arch>-<version>.tar.gz
	// that the server offers for download.
	Applications []string
	// JujuSocket is where the fault "kill" finds the lab's Juju.
	JujuSocket string
	// OfflineAfter is how long after its last sign of life a runner counts as
	// offline, default 5 s; one whose connection broke, a fifth of that.
	OfflineAfter time.Duration
	// LostAfter is how long a runner that went offline with a job is waited
	// for before the job fails, default 5 s. GitHub takes up to 15 minutes.
	LostAfter time.Duration
	// Limit is the number of calls per token and hour, default 5,000.
	Limit int
	Log   *logrus.Entry
}

// Server is one GitHub. It may be used by several goroutines.
type Server struct {
	options      Options
	applications []application
	api          http.Handler
	runners      http.Handler
	log          *logrus.Entry

	mu sync.Mutex
	// changed is closed and replaced at every change, for those who wait.
	changed  chan struct{}
	lastID   int64
	runnerOf map[int64]*registered
	groups   map[string][]*Group
	jobs     []*job
	faults   []*fault
	calls    map[string]*Calls
	budgets  map[string]*budget
	// apps are the GitHub Apps by their client ID, issued what tokens they got.
	apps     map[string]*app
	issued   map[string]*issued
	settings settings
}

// New returns a server with no runner and no job.
func New(options Options) (*Server, error) {
	if options.OfflineAfter <= 0 {
		options.OfflineAfter = 5 * time.Second
	}
	if options.LostAfter <= 0 {
		options.LostAfter = 5 * time.Second
	}
	if options.Limit <= 0 {
		options.Limit = 5000
	}
	log := options.Log
	if log == nil {
		log = logrus.NewEntry(logrus.StandardLogger())
	}
	applications, err := readApplications(options.Applications)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options:      options,
		applications: applications,
		log:          log,
		changed:      make(chan struct{}),
		lastID:       100,
		runnerOf:     map[int64]*registered{},
		groups:       map[string][]*Group{},
		calls:        map[string]*Calls{},
		budgets:      map[string]*budget{},
		apps:         map[string]*app{},
		issued:       map[string]*issued{},
	}
	s.api = s.newAPI()
	s.runners = s.newRunnerAPI()
	return s, nil
}

// ServeHTTP answers GitHub's REST API, at / as api.github.com does and at
// /api/v3 as an enterprise server does, and the runner applications.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/_runner/"):
		s.runners.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/_downloads/"):
		s.serveApplication(w, r)
	default:
		http.StripPrefix(strings.TrimSuffix(apiPrefix(r.URL.Path), "/"), s.api).ServeHTTP(w, r)
	}
}

func apiPrefix(path string) string {
	if strings.HasPrefix(path, "/api/v3/") {
		return "/api/v3/"
	}
	return ""
}

// change tells those who wait that something is different. The lock is held.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// nextID returns a number that nothing has. The lock is held.
func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}
