package github_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

const runners = "/repos/acme/widgets/actions/runners"

// stand is a GitHub that is being tested, on loopback.
type stand struct {
	*github.Server
	t   *testing.T
	url string
}

func newStand(t *testing.T, options github.Options) stand {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	options.Log = logrus.NewEntry(log)
	server, err := github.New(options)
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	return stand{server, t, listener.URL}
}

// answer is what a call got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s stand) call(method, path, body string, headers ...string) answer {
	s.t.Helper()
	got, err := s.try(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (s stand) try(method, path, body string, headers ...string) (answer, error) {
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Authorization", "Bearer abc")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, content}, err
}

// register makes a runner and returns its id and JIT configuration.
func (s stand) register(name, labels string) (int64, string) {
	s.t.Helper()
	got := s.call("POST", runners+"/generate-jitconfig", fmt.Sprintf(`{"name":%q,"runner_group_id":1,"labels":[%s]}`, name, labels))
	var made struct {
		Runner struct{ ID int64 }
		JIT    string `json:"encoded_jit_config"`
	}
	if err := json.Unmarshal(got.body, &made); err != nil || got.status != http.StatusCreated {
		s.t.Fatalf("cannot register %s: %d %s", name, got.status, got.body)
	}
	return made.Runner.ID, made.JIT
}

// online brings a runner online until ctx ends or the test does.
func (s stand) online(ctx context.Context, jit string) *runnerapp.Session {
	s.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	s.t.Cleanup(cancel)
	session, err := runnerapp.Open(jit)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := session.Online(ctx); err != nil {
		s.t.Fatal(err)
	}
	return session
}

func (s stand) wait(condition github.Condition) {
	s.t.Helper()
	condition.Timeout = 20 * time.Second
	if err := s.Wait(s.t.Context(), condition); err != nil {
		s.t.Fatal(err)
	}
}

func (s stand) queue(job github.JobRequest) []github.JobInfo {
	s.t.Helper()
	made, err := s.Queue(job)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

func (s stand) fault(fault github.Fault) {
	s.t.Helper()
	if _, err := s.AddFault(fault); err != nil {
		s.t.Fatal(err)
	}
}

func exactly(n int) *int { return &n }

func TestRegisteringIsChecked(t *testing.T) {
	s := newStand(t, github.Options{})
	s.register("taken", `"x"`)
	many := strings.TrimSuffix(strings.Repeat(`"l",`, 101), ",")
	for name, test := range map[string]struct {
		path, body string
		want       int
	}{
		"repository":      {"/repos/a/b", `{"name":"n","runner_group_id":1,"labels":["x"]}`, 201},
		"organisation":    {"/orgs/a", `{"name":"n","runner_group_id":1,"labels":["x"],"work_folder":"_work"}`, 201},
		"enterprise":      {"/api/v3/repos/c/d", `{"name":"n","runner_group_id":1,"labels":["x"]}`, 201},
		"no JSON":         {"/repos/a/b", `{`, 400},
		"no group":        {"/repos/a/b", `{"name":"m","labels":["x"]}`, 422},
		"no name":         {"/repos/a/b", `{"runner_group_id":1,"labels":["x"]}`, 422},
		"long name":       {"/repos/a/b", `{"name":"` + strings.Repeat("n", 65) + `","runner_group_id":1,"labels":["x"]}`, 422},
		"no labels":       {"/repos/a/b", `{"name":"m","runner_group_id":1,"labels":[]}`, 422},
		"too many labels": {"/repos/a/b", `{"name":"m","runner_group_id":1,"labels":[` + many + `]}`, 422},
		"empty label":     {"/repos/a/b", `{"name":"m","runner_group_id":1,"labels":[" "]}`, 422},
		"closed group":    {"/orgs/a", `{"name":"m","runner_group_id":2,"labels":["x"]}`, 403},
		"unknown group":   {"/orgs/a", `{"name":"m","runner_group_id":77,"labels":["x"]}`, 404},
		"repo's group":    {"/repos/a/b", `{"name":"m","runner_group_id":77,"labels":["x"]}`, 404},
		"name taken":      {"/repos/ACME/Widgets", `{"name":"Taken","runner_group_id":1,"labels":["x"]}`, 409},
		"elsewhere":       {"/repos/a/other", `{"name":"taken","runner_group_id":1,"labels":["x"]}`, 201},
	} {
		if got := s.call("POST", test.path+"/actions/runners/generate-jitconfig", test.body); got.status != test.want {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, test.want)
		}
	}
}

func TestNewRunnerLooksAsGitHubShowsIt(t *testing.T) {
	s := newStand(t, github.Options{})
	id, jit := s.register("one", `"Self-Hosted","X64","x64"`)
	got := string(s.call("GET", fmt.Sprint(runners, "/", id), "").body)
	want := fmt.Sprintf(`{"id":%d,"name":"one","os":"unknown","status":"offline","busy":false,"ephemeral":true,"runner_group_id":1,`+
		`"labels":[{"id":1,"name":"self-hosted","type":"custom"},{"id":2,"name":"x64","type":"custom"}]}`, id)
	if got != want {
		t.Errorf("it is %s\nwant %s", got, want)
	}
	if len(jit) < 3500 || len(jit) > 5000 {
		t.Errorf("the JIT configuration has %d bytes, want about 4 KB", len(jit))
	}
	for _, path := range []string{"/999999", "/x", "/-1"} {
		for _, method := range []string{"GET", "DELETE"} {
			if got := s.call(method, runners+path, ""); got.status != 404 {
				t.Errorf("%s %s: %d, want 404", method, path, got.status)
			}
		}
	}
	if got := s.call("GET", fmt.Sprint("/repos/acme/other/actions/runners/", id), ""); got.status != 404 {
		t.Errorf("another repository shows it: %d", got.status)
	}
	if got := s.call("DELETE", fmt.Sprint(runners, "/", id), ""); got.status != 204 {
		t.Errorf("removing it: %d, want 204", got.status)
	}
}

func TestTokens(t *testing.T) {
	s := newStand(t, github.Options{})
	for header, want := range map[string]int{"Bearer abc": 200, "token abc": 200, "Bearer ab": 401, "Basic abc": 401, "": 401} {
		if got := s.call("GET", runners, "", "Authorization", header); got.status != want {
			t.Errorf("%q: %d, want %d", header, got.status, want)
		}
	}
}

func TestPagesAndNames(t *testing.T) {
	s := newStand(t, github.Options{})
	for i := range 5 {
		s.register(fmt.Sprint("r", i), `"x"`)
	}
	for query, test := range map[string]struct {
		count int
		next  bool
	}{
		"":                   {5, false},
		"?per_page=2":        {2, true},
		"?per_page=2&page=3": {1, false},
		"?per_page=5":        {5, false},
		"?per_page=0":        {5, false},
		"?per_page=x&page=y": {5, false},
		"?page=9":            {0, false},
		"?name=r3":           {1, false},
		"?name=r":            {0, false},
	} {
		got := s.call("GET", runners+query, "")
		var list struct {
			Total   *int `json:"total_count"`
			Runners []any
		}
		if err := json.Unmarshal(got.body, &list); err != nil || list.Total == nil || len(list.Runners) != test.count {
			t.Errorf("%s: %s, want %d runners", query, got.body, test.count)
		}
		if next := strings.Contains(got.header.Get("Link"), `rel="next"`); next != test.next {
			t.Errorf("%s: Link %q", query, got.header.Get("Link"))
		}
	}
}

func TestUnchangedAnswersAreFree(t *testing.T) {
	s := newStand(t, github.Options{Limit: 4})
	first := s.call("GET", runners, "")
	etag := first.header.Get("ETag")
	for range 5 {
		got := s.call("GET", runners, "", "If-None-Match", etag)
		if got.status != 304 || len(got.body) != 0 || got.header.Get("X-RateLimit-Remaining") != "3" {
			t.Fatalf("unchanged: %d %q, remaining %s", got.status, got.body, got.header.Get("X-RateLimit-Remaining"))
		}
	}
	s.register("one", `"x"`)
	if got := s.call("GET", runners, "", "If-None-Match", etag); got.status != 200 || got.header.Get("ETag") == etag {
		t.Errorf("changed: %d", got.status)
	}
	s.call("GET", runners, "")
	if got := s.call("GET", runners, ""); got.status != 403 || got.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("the call after the last: %d, want 403", got.status)
	}
	if got := s.call("GET", "/rate_limit", ""); got.status != 200 {
		t.Errorf("asking for the limit: %d, want 200", got.status)
	}
	if got := s.call("GET", runners, "", "Authorization", "Bearer another"); got.status != 200 {
		t.Errorf("another token: %d, want 200", got.status)
	}
	for _, calls := range s.Calls() {
		if calls.Endpoint == "GET /repos/{owner}/{repo}/actions/runners" && (calls.Total != 10 || calls.NotModified != 5 || calls.Refused != 1) {
			t.Errorf("counted %+v", calls)
		}
	}
}

func TestGroupsAreListed(t *testing.T) {
	s := newStand(t, github.Options{})
	made, err := s.AddGroup("Acme", "Fast")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][2]string{{"acme", "FAST"}, {"acme", "default"}, {"", "x"}, {"a/b", "x"}, {"acme", ""}} {
		if _, err := s.AddGroup(bad[0], bad[1]); err == nil {
			t.Errorf("group %q was added", bad)
		}
	}
	got := string(s.call("GET", "/orgs/acme/actions/runner-groups", "").body)
	want := fmt.Sprintf(`{"runner_groups":[{"id":1,"name":"Default","default":true},{"id":%d,"name":"Fast","default":false}],"total_count":2}`, made.ID)
	if got != want {
		t.Errorf("groups: %s\nwant %s", got, want)
	}
	body := fmt.Sprintf(`{"name":"one","runner_group_id":%d,"labels":["x"]}`, made.ID)
	if got := s.call("POST", "/orgs/acme/actions/runners/generate-jitconfig", body); got.status != 201 {
		t.Errorf("registering there: %d", got.status)
	}
	if err := s.RemoveGroup("acme", "fast"); err != nil {
		t.Error(err)
	}
	if err := s.RemoveGroup("acme", "fast"); err == nil {
		t.Error("it was removed twice")
	}
}
