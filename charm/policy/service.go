package policy

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

const (
	// Port is the TCP port of the service on the runners' bridge. It is not the
	// Python charm's, 8080, which that charm's service has at all addresses until
	// the last of its runners has ended.
	Port = 18080
	// Socket is the service's socket in the unit's folder.
	Socket = "policy.sock"
	// AlivePath answers 204 to anyone while the service runs at all.
	AlivePath = "/alive"
	// Folder is where the service keeps its things in the unit's folder.
	Folder = "policy"

	// checkDeadline bounds one check, all calls of GitHub's together: less than a
	// runner waits for it.
	checkDeadline = 50 * time.Second
	// healthLife is how long it counts whether GitHub could be asked.
	healthLife = 10 * time.Second
	// maxRequest bounds the body of a request.
	maxRequest = 16 << 10
)

// Options is what a Service works with.
type Options struct {
	// Dir is the service's own folder in the unit's: one-time tokens, the service
	// token, the policy document.
	Dir string
	// GitHub returns what the rules ask. It is called for each check; another value
	// than before makes the service forget what the last one said.
	GitHub func() (GitHub, error)
	// Log is told of each decision, never of a token.
	Log *logrus.Entry
}

// Service answers runners. It may be used by several goroutines.
type Service struct {
	options  Options
	tokens   Tokens
	token    secret.Text
	document string
	mux      *http.ServeMux

	mu      sync.Mutex
	github  GitHub
	answers *answers
	setting sync.Mutex
}

// TokensIn returns the one-time tokens that a Service with this folder redeems.
func TokensIn(dir string) Tokens {
	return NewTokens(filepath.Join(dir, "tokens"))
}

// New returns a service. It makes the service token where there is none.
func New(options Options) (*Service, error) {
	token, err := serviceToken(filepath.Join(options.Dir, "service-token"))
	if err != nil {
		return nil, err
	}
	s := &Service{
		options:  options,
		tokens:   TokensIn(options.Dir),
		token:    token,
		document: filepath.Join(options.Dir, "policy.json"),
		mux:      http.NewServeMux(),
		answers:  newAnswers(),
	}
	s.routes()
	return s, nil
}

func (s *Service) routes() {
	s.mux.HandleFunc("GET /one-time-token", s.only(charmRole, s.issue))
	s.mux.HandleFunc("POST /policy", s.only(charmRole, s.set))
	s.mux.HandleFunc("POST /check-run", s.only(runnerRole, s.check(eventPullRequest)))
	for _, event := range events() {
		s.mux.HandleFunc("POST /"+event+"/check-run", s.only(runnerRole, s.check(event)))
	}
	s.mux.HandleFunc("POST /always-fail/check-run", s.only(runnerRole, func(w http.ResponseWriter, _ *http.Request, _ string) {
		reply(w, http.StatusForbidden, "Endpoint designed for testing that always fails")
	}))
	s.mux.HandleFunc("GET /health", s.health)
	s.mux.HandleFunc("GET "+AlivePath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s.mux.HandleFunc("GET /auth-health", s.only(runnerRole, func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(http.StatusNoContent)
	}))
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	s.mux.ServeHTTP(w, r)
}

// role is who calls.
type role int

const (
	nobody role = iota
	charmRole
	runnerRole
)

// only lets through whom an endpoint is for. A one-time token is used up by
// whatever it is shown for.
func (s *Service) only(wanted role, next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, name, err := s.identify(r)
		switch {
		case err != nil:
			s.options.Log.WithError(err).Error("cannot look up a token")
			reply(w, http.StatusInternalServerError, "The token could not be looked up. Run the job again later.")
		case caller == nobody:
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, http.StatusUnauthorized, "The token is missing, wrong, or was used before.")
		case caller != wanted:
			reply(w, http.StatusForbidden, "This token is not for this endpoint.")
		default:
			next(w, r, name)
		}
	}
}

// identify uses up the token of a runner, and returns the runner's name.
func (s *Service) identify(r *http.Request) (role, string, error) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(kind, "Bearer") || token == "" {
		return nobody, "", nil
	}
	given, own := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.token.Reveal()))
	if subtle.ConstantTimeCompare(given[:], own[:]) == 1 {
		return charmRole, "", nil
	}
	name, err := s.tokens.Redeem(token)
	if errors.Is(err, ErrNoToken) {
		return nobody, "", nil
	}
	return runnerRole, name, err
}

func (s *Service) issue(w http.ResponseWriter, _ *http.Request, _ string) {
	token, err := s.tokens.Issue("")
	if err != nil {
		s.options.Log.WithError(err).Error("a one-time token was asked for in vain")
		reply(w, http.StatusInternalServerError, "No token can be issued: the unit's log says why.")
		return
	}
	reply(w, http.StatusOK, token.Reveal())
}

// set keeps a new policy document, for every check from now on and after a restart.
func (s *Service) set(w http.ResponseWriter, r *http.Request, _ string) {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		_, err = ParseDocument(data)
	}
	if err != nil {
		reply(w, http.StatusBadRequest, err.Error())
		return
	}
	s.setting.Lock()
	defer s.setting.Unlock()
	if err := writeNew(s.document, data); err != nil {
		s.options.Log.WithError(err).Error("the policy is as it was")
		reply(w, http.StatusInternalServerError, "The policy can't be kept: the unit's log says why.")
		return
	}
	s.options.Log.Info("the policy was changed")
	w.WriteHeader(http.StatusNoContent)
}

// check is the question that all is about.
func (s *Service) check(event string) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, name string) {
		log := s.options.Log.WithFields(logrus.Fields{"job-event": event, "runner": name})
		asked, err := readRequest(r.Body, event)
		if err != nil {
			log.WithError(err).Warn("a runner asked what can't be understood")
			reply(w, http.StatusBadRequest, err.Error())
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), checkDeadline)
		defer cancel()
		log = log.WithField("repository", fmt.Sprintf("%q", asked.Repository))
		err = s.decide(ctx, event, asked)
		var refused failure
		switch {
		case err == nil:
			log.Info("the job may run")
			w.WriteHeader(http.StatusNoContent)
		case errors.As(err, &refused):
			log.WithField("reason", refused.reason).Warn("the job may not run")
			reply(w, http.StatusForbidden, refused.reason)
		default:
			log.WithError(err).Error("whether the job may run can't be found out")
			reply(w, http.StatusInternalServerError, trouble(err))
		}
	}
}

// decide judges by what GitHub said within the last minute. A refusal stands only
// on what it says now: who has just mended the repository, or commented, does not
// wait.
func (s *Service) decide(ctx context.Context, event string, asked request) error {
	document, err := readDocument(s.document)
	if err != nil {
		return err
	}
	began := time.Now()
	github, err := s.ask(began.Add(-AnswerLife))
	if err != nil {
		return err
	}
	err = judge(ctx, github, document, event, asked)
	if err == nil || !github.kept {
		return err
	}
	if github, err = s.ask(began); err != nil {
		return err
	}
	return judge(ctx, github, document, event, asked)
}

// ask returns GitHub with the answers that it gave since then.
func (s *Service) ask(since time.Time) (*remembered, error) {
	github, err := s.options.GitHub()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if github != s.github {
		s.github, s.answers = github, newAnswers()
	}
	return &remembered{GitHub: github, answers: s.answers, since: since}, nil
}

// trouble is an error as a person reads it in the log of a job.
func trouble(err error) string {
	var limit runner.RateLimited
	if errors.As(err, &limit) {
		return fmt.Sprintf("GitHub's rate limit is used up until %s: wait and retry the job after that.", limit.Until.UTC().Format("15:04:05 MST"))
	}
	return fmt.Sprintf("GitHub can't be asked whether this job may run: %v. Run the job again later.", err)
}

// health says whether checks can be made at all. Anyone may ask, a job in an
// endless loop as well: GitHub is asked at most once in a while.
func (s *Service) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkDeadline)
	defer cancel()
	github, err := s.ask(time.Now().Add(-healthLife))
	if err == nil {
		err = github.Check(ctx)
	}
	if err != nil {
		reply(w, http.StatusInternalServerError, fmt.Sprintf("Checks can't be made: %v", err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// readRequest is strict: what is missing can't be judged.
func readRequest(body io.Reader, event string) (request, error) {
	var asked request
	decoder := json.NewDecoder(body)
	if err := decoder.Decode(&asked); err != nil {
		return request{}, errors.New("the body is no JSON object of texts")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return request{}, errors.New("something follows the JSON object")
	}
	texts := map[string]string{"repository_name": asked.Repository}
	if event == eventPullRequest {
		texts["source_repository_name"] = asked.Source
		texts["target_branch_name"] = asked.Target
		texts["source_branch_name"] = asked.Branch
		texts["commit_sha"] = asked.Commit
	}
	for _, name := range []string{"repository_name", "source_repository_name", "target_branch_name", "source_branch_name", "commit_sha"} {
		if text, needed := texts[name]; needed && text == "" {
			return request{}, fmt.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"repository_name", "source_repository_name"} {
		if text, needed := texts[name]; needed && !isRepository(text) {
			return request{}, fmt.Errorf("%s is not owner/name", name)
		}
	}
	return asked, nil
}

func isRepository(text string) bool {
	owner, name, ok := strings.Cut(text, "/")
	return ok && owner != "" && name != "" && !strings.Contains(name, "/")
}

// reply sends a line of text.
func reply(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // whoever hung up does not want it
}
