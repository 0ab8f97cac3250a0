package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/runner"
	"github-runner/charm/unitdir"
)

type testService struct {
	*Service
	world *world
	unit  *unitdir.Dir
	dir   string
	log   *bytes.Buffer
}

func newService(t *testing.T, w *world) testService {
	t.Helper()
	unit, err := unitdir.Open(t.TempDir(), "github-runner-0-ab12")
	if err != nil {
		t.Fatal(err)
	}
	s := testService{world: w, unit: unit, dir: unit.Path(Folder), log: &bytes.Buffer{}}
	return s.restarted(t)
}

// restarted is another process with the same folder.
func (s testService) restarted(t *testing.T) testService {
	t.Helper()
	logger := logrus.New()
	logger.SetOutput(s.log)
	made, err := New(Options{Dir: s.dir, GitHub: func() (GitHub, error) { return s.world, nil }, Log: logrus.NewEntry(logger)})
	if err != nil {
		t.Fatal(err)
	}
	s.Service = made
	return s
}

func (s testService) ask(method, path, token, body string) (int, string) {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func (s testService) fresh(t *testing.T) string {
	t.Helper()
	return issue(t, s.tokens, owner)
}

const pushBody = `{"repository_name": "acme/widgets"}`

func pullBody(t *testing.T, asked request) string {
	t.Helper()
	body, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestEndpoints(t *testing.T) {
	s := newService(t, compliant())
	service := s.token.Reveal()
	own := pullBody(t, pull("acme/widgets", "main"))
	wild := pullBody(t, pull("acme/widgets", "wild"))
	const runners, charm, none, wrong = "runner", "charm", "none", "wrong"
	tests := []struct {
		method, path, as, body string
		status                 int
		says                   string
	}{
		{"POST", "/pull_request/check-run", runners, own, 204, ""},
		{"POST", "/check-run", runners, own, 204, ""},
		{"POST", "/pull_request/check-run", runners, wild, 403, "Protect the branch"},
		{"POST", "/check-run", runners, wild, 403, "Protect the branch"},
		{"POST", "/push/check-run", runners, pushBody, 204, ""},
		{"POST", "/schedule/check-run", runners, pushBody, 204, ""},
		{"POST", "/workflow_dispatch/check-run", runners, pushBody, 204, ""},
		{"POST", "/default/check-run", runners, pushBody, 204, ""},
		{"POST", "/always-fail/check-run", runners, "", 403, "Endpoint designed for testing that always fails"},
		{"GET", "/auth-health", runners, "", 204, ""},
		{"GET", "/health", none, "", 204, ""},
		{"GET", "/alive", none, "", 204, ""},
		{"POST", "/push/check-run", none, pushBody, 401, "token"},
		{"POST", "/push/check-run", wrong, pushBody, 401, "token"},
		{"POST", "/always-fail/check-run", wrong, "", 401, "token"},
		{"GET", "/auth-health", none, "", 401, "token"},
		{"GET", "/one-time-token", wrong, "", 401, "token"},
		{"POST", "/push/check-run", charm, pushBody, 403, "not for this endpoint"},
		{"GET", "/auth-health", charm, "", 403, "not for this endpoint"},
		{"GET", "/one-time-token", runners, "", 403, "not for this endpoint"},
		{"POST", "/policy", runners, "{}", 403, "not for this endpoint"},
		{"POST", "/push/check-run", runners, "", 400, "no JSON object"},
		{"POST", "/push/check-run", runners, "[]", 400, "no JSON object"},
		{"POST", "/push/check-run", runners, `{"repository_name": 1}`, 400, "no JSON object"},
		{"POST", "/push/check-run", runners, `{"repository_name": ""}`, 400, "repository_name is missing"},
		{"POST", "/push/check-run", runners, `{"repository_name": "widgets"}`, 400, "owner/name"},
		{"POST", "/push/check-run", runners, pushBody + pushBody, 400, "follows"},
		{"POST", "/pull_request/check-run", runners, pushBody, 400, "source_repository_name is missing"},
		{"POST", "/pull_request/check-run", runners, strings.Replace(own, commit, "", 1), 400, "commit_sha is missing"},
		{"POST", "/push/check-run", runners, `{"repository_name": "` + strings.Repeat("x", maxRequest) + `"}`, 400, ""},
		{"POST", "/policy", charm, `{"push": {"execute_job": {"enabled": true}}}`, 400, "execute_job"},
		{"POST", "/nothing", runners, "", 404, ""},
		{"GET", "/push/check-run", runners, "", 405, ""},
	}
	for _, test := range tests {
		token := map[string]string{runners: s.fresh(t), charm: service, wrong: strings.Repeat("0", 64)}[test.as]
		status, said := s.ask(test.method, test.path, token, test.body)
		if status != test.status || !strings.Contains(said, test.says) {
			t.Errorf("%s %s as %s with %.60q: %d %q", test.method, test.path, test.as, test.body, status, said)
		}
		if test.as == runners && test.status != 404 && test.status != 405 {
			if status, _ := s.ask("GET", "/auth-health", token, ""); status != http.StatusUnauthorized {
				t.Errorf("%s %s leaves its token good: %d", test.method, test.path, status)
			}
		}
		if token != "" && strings.Contains(s.log.String(), token) {
			t.Errorf("%s %s: the token is in the log", test.method, test.path)
		}
	}
}

func TestTokenFromTheServiceOutlivesARestart(t *testing.T) {
	s := newService(t, compliant())
	status, token := s.ask("GET", "/one-time-token", s.token.Reveal(), "")
	if status != http.StatusOK || len(token) != 64 {
		t.Fatalf("GET /one-time-token: %d %q", status, token)
	}
	again := s.restarted(t)
	if !again.token.Equal(s.token) {
		t.Error("the service token changes with a restart")
	}
	if status, said := again.ask("POST", "/push/check-run", token, pushBody); status != http.StatusNoContent {
		t.Errorf("after a restart: %d %q", status, said)
	}
	if status, _ := s.ask("POST", "/push/check-run", token, pushBody); status != http.StatusUnauthorized {
		t.Errorf("used twice: %d", status)
	}
}

func TestOneTokenManyRequests(t *testing.T) {
	s := newService(t, compliant())
	server := httptest.NewServer(s)
	defer server.Close()
	token := s.fresh(t)
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			request, err := http.NewRequest("POST", server.URL+"/push/check-run", strings.NewReader(pushBody))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Authorization", "Bearer "+token)
			response, err := server.Client().Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			switch response.StatusCode {
			case http.StatusNoContent:
				passed.Add(1)
			case http.StatusUnauthorized:
			default:
				t.Errorf("status %d", response.StatusCode)
			}
		})
	}
	all.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d requests passed with one token", passed.Load())
	}
}

func TestPolicyIsKept(t *testing.T) {
	w := compliant()
	w.collaborators["acme/widgets"] = []Collaborator{{"zoe", "admin"}}
	s := newService(t, w)
	if status, _ := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != http.StatusForbidden {
		t.Fatalf("before: %d", status)
	}
	if status, said := s.ask("POST", "/policy", s.token.Reveal(), `{"push": {"collaborators": {"enabled": false}}}`); status != http.StatusNoContent {
		t.Fatalf("POST /policy: %d %q", status, said)
	}
	for _, s := range []testService{s, s.restarted(t)} {
		if status, said := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != http.StatusNoContent {
			t.Errorf("after: %d %q", status, said)
		}
	}
	if err := os.WriteFile(s.document, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _ := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != http.StatusInternalServerError {
		t.Errorf("with a damaged policy: %d", status)
	}
}

func TestParseDocumentRefuses(t *testing.T) {
	for _, document := range []string{
		"", "null", "[]", "1", `{}{}`, `{"issues": {}}`, `{"pull_request": {"odd": {"enabled": true}}}`,
		`{"push": {"disallow_fork": {"enabled": true}}}`, `{"push": {"collaborators": {}}}`,
		`{"push": {"collaborators": {"enabled": "yes"}}}`, `{"push": {"collaborators": {"enabled": true, "x": 1}}}`,
		`{"push": {"collaborators": null}}`,
	} {
		if _, err := ParseDocument([]byte(document)); err == nil {
			t.Errorf("ParseDocument takes %s", document)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		says   string
	}{
		{runner.RateLimited{Until: time.Date(2025, 1, 2, 14, 5, 0, 0, time.UTC)}, 500, "until 14:05:00 UTC: wait and retry"},
		{runner.ErrUnreachable, 500, "unreachable"},
		{runner.ErrNotFound, 403, "not set up as it must be"},
	} {
		w := compliant()
		w.failures["OutsideCollaborators"] = fmt.Errorf("in a test: %w", test.err)
		s := newService(t, w)
		if status, said := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != test.status || !strings.Contains(said, test.says) {
			t.Errorf("%v: %d %q", test.err, status, said)
		}
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := compliant()
		s := newService(t, w)
		for range 10 {
			if status, said := s.ask("GET", "/health", "", ""); status != http.StatusNoContent {
				t.Errorf("health: %d %q", status, said)
			}
		}
		if w.count("Check") != 1 {
			t.Errorf("GitHub was asked %d times", w.count("Check"))
		}
		w.failures["Check"] = errors.New("GitHub refuses it")
		time.Sleep(healthLife)
		for range 10 {
			if status, said := s.ask("GET", "/health", "", ""); status != 500 || !strings.Contains(said, "GitHub refuses it") {
				t.Errorf("health: %d %q", status, said)
			}
		}
		if w.count("Check") != 2 {
			t.Errorf("GitHub was asked %d times", w.count("Check"))
		}
	})
}

func TestAnswersAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := compliant()
		s := newService(t, w)
		check := func() int {
			t.Helper()
			status, _ := s.ask("POST", "/push/check-run", s.fresh(t), pushBody)
			return status
		}
		check()
		time.Sleep(AnswerLife - time.Second)
		if check() != http.StatusNoContent || w.count("Outside") != 1 {
			t.Errorf("within its life the answer was asked for %d times", w.count("Outside"))
		}
		time.Sleep(time.Second)
		if check() != http.StatusNoContent || w.count("Outside") != 2 {
			t.Errorf("after its life the answer was asked for %d times", w.count("Outside"))
		}
	})
}

func TestARefusalRestsOnNothingKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := compliant()
		w.comments["acme/widgets 7"] = nil
		s := newService(t, w)
		body := pullBody(t, pull("stranger/widgets", "main"))
		check := func() int {
			t.Helper()
			time.Sleep(time.Second)
			status, _ := s.ask("POST", "/pull_request/check-run", s.fresh(t), body)
			return status
		}
		if status := check(); status != http.StatusForbidden {
			t.Errorf("without the comment: %d", status)
		}
		w.comments["acme/widgets 7"] = []Comment{{"writer", command + " " + commit}}
		if status := check(); status != http.StatusNoContent {
			t.Errorf("a second after the comment: %d", status)
		}
	})
}

func TestFailuresAreNotKept(t *testing.T) {
	w := compliant()
	w.failures["OutsideCollaborators"] = runner.ErrUnreachable
	s := newService(t, w)
	if status, _ := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != 500 {
		t.Errorf("while GitHub is away: %d", status)
	}
	delete(w.failures, "OutsideCollaborators")
	if status, _ := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != http.StatusNoContent {
		t.Errorf("once it is back: %d", status)
	}
}

func TestAnotherGitHubForgetsWhatTheLastOneSaid(t *testing.T) {
	s := newService(t, compliant())
	s.ask("POST", "/push/check-run", s.fresh(t), pushBody)
	next := compliant()
	next.collaborators["acme/widgets"] = []Collaborator{{"zoe", "admin"}}
	s.options.GitHub = func() (GitHub, error) { return next, nil }
	if status, _ := s.ask("POST", "/push/check-run", s.fresh(t), pushBody); status != http.StatusForbidden {
		t.Errorf("with another token or path: %d", status)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	kept := newAnswers()
	for i := range 2 * maxAnswers {
		kept.find(fmt.Sprint(i), time.Time{})
	}
	if len(kept.known) > maxAnswers {
		t.Errorf("%d answers are kept", len(kept.known))
	}
	if _, ours := kept.find(fmt.Sprint(2*maxAnswers-1), time.Time{}); ours {
		t.Error("the youngest answer is gone")
	}
}

// A burst of jobs of one repository is one call.
func TestABurstAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := compliant()
		w.during = func() { time.Sleep(time.Second) }
		s := newService(t, w)
		var tokens []string
		for range 20 {
			tokens = append(tokens, s.fresh(t))
		}
		var all sync.WaitGroup
		for _, token := range tokens {
			all.Go(func() {
				if status, said := s.ask("POST", "/push/check-run", token, pushBody); status != http.StatusNoContent {
					t.Errorf("%d %q", status, said)
				}
			})
		}
		all.Wait()
		if w.count("Outside") != 1 {
			t.Errorf("GitHub was asked %d times", w.count("Outside"))
		}
	})
}
