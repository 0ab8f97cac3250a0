package cloudinit

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
	"github-runner/lab/skip"
)

const policyToken = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// checker runs the program that decides before a job, as it is in user-data.
type checker struct {
	t       *testing.T
	program string
	dir     string
	// patience is that of the checks, in seconds.
	patience int
	members  bool
	url      string
}

func newChecker(t *testing.T, url string) *checker {
	t.Helper()
	skip.Without(t, "/usr/bin/python3")
	machine := Machine{Name: "checked", Policy: &Policy{URL: "http://192.0.2.1:8080", Token: secret.New(policyToken)}}
	_, files := render(t, machine)
	c := &checker{t: t, dir: t.TempDir(), url: url, patience: 1}
	c.program = filepath.Join(c.dir, "check")
	c.write("check", files[checkPath].Content)
	if err := os.Chmod(c.program, 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *checker) write(name, content string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// run returns what it prints, what it leaves for the end of the runner, and
// whether the job may run.
func (c *checker) run(event string, payload any, environment ...string) (said, refused string, pass bool) {
	c.t.Helper()
	os.Remove(filepath.Join(c.dir, "refused"))
	checks, err := json.Marshal(Checks{PolicyURL: c.url, Patience: c.patience, MembersOnly: c.members})
	if err != nil {
		c.t.Fatal(err)
	}
	content, err := json.Marshal(payload)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("checks.json", string(checks))
	c.write("event.json", string(content))
	cmd := exec.Command(c.program, filepath.Join(c.dir, "checks.json"), c.dir)
	cmd.Env = append([]string{
		"GITHUB_EVENT_NAME=" + event, "GITHUB_EVENT_PATH=" + filepath.Join(c.dir, "event.json"), "GITHUB_REPOSITORY=acme/widgets",
		"http_proxy=http://192.0.2.9:1", "HTTP_PROXY=http://192.0.2.9:1", "PYTHONPATH=" + c.dir,
	}, environment...)
	out, err := cmd.CombinedOutput()
	left, _ := os.ReadFile(filepath.Join(c.dir, "refused"))
	return string(out), string(left), err == nil
}

type asked struct {
	Path  string
	Token string
	Body  map[string]string
}

func TestCheckAsksThePolicyService(t *testing.T) {
	var got []asked
	status, reason := http.StatusNoContent, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := asked{Path: r.Method + " " + r.URL.Path, Token: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&one.Body); err != nil {
			t.Error(err)
		}
		got = append(got, one)
		w.WriteHeader(status)
		io.WriteString(w, reason)
	}))
	defer server.Close()
	c := newChecker(t, server.URL+"/base/")
	odd := `a'b"c$(id)` + "`%&\n"
	pull := map[string]any{"pull_request": map[string]any{"head": map[string]any{"sha": "abc", "repo": map[string]any{"full_name": "bob/" + odd}}}}
	review := map[string]any{"pull_request": map[string]any{
		"head": map[string]any{"sha": "abc", "ref": "feature", "repo": map[string]any{"full_name": "bob/widgets"}},
		"base": map[string]any{"ref": "main"},
	}}
	reviewed := map[string]string{
		"repository_name": "acme/widgets", "source_repository_name": "bob/widgets", "commit_sha": "abc", "target_branch_name": "main", "source_branch_name": "feature",
	}
	whole := map[string]string{"repository_name": "acme/widgets"}
	for _, test := range []struct {
		event, workflow, path string
		payload               any
		unset                 bool
		body                  map[string]string
	}{
		{event: "push", path: "push"},
		{event: "schedule", path: "schedule"},
		{event: "workflow_dispatch", path: "workflow_dispatch"},
		{event: "pull_request_target", path: "default"},
		{event: "issues/../x", path: "default"},
		{event: "push", workflow: "Workflow Dispatch Failure Tests 2a34f8b1-41e4-4bcb-9bbf-7a74e6c482f7", path: "always-fail"},
		{event: "pull_request", payload: pull, path: "pull_request", body: map[string]string{
			"repository_name": "acme/widgets", "source_repository_name": "bob/" + odd, "commit_sha": "abc", "target_branch_name": odd, "source_branch_name": "feature",
		}},
		// Reviews have no variables of the branches.
		{event: "pull_request_review", unset: true, payload: review, path: "pull_request", body: reviewed},
		{event: "pull_request_review_comment", unset: true, payload: review, path: "pull_request", body: reviewed},
		// A fork that was deleted.
		{event: "pull_request", payload: map[string]any{"pull_request": map[string]any{"head": map[string]any{"repo": nil}}}, path: "pull_request", body: map[string]string{
			"repository_name": "acme/widgets", "source_repository_name": "", "commit_sha": "", "target_branch_name": odd, "source_branch_name": "feature",
		}},
	} {
		got = nil
		c.write("policy-token", policyToken+"\n")
		environment := []string{"GITHUB_WORKFLOW=" + test.workflow, "GITHUB_BASE_REF=" + odd, "GITHUB_HEAD_REF=feature"}
		if test.unset {
			environment = environment[:1]
		}
		said, refused, pass := c.run(test.event, test.payload, environment...)
		if !pass || refused != "" {
			t.Errorf("%s does not pass: %s", test.event, said)
		}
		body := test.body
		if body == nil {
			body = whole
		}
		want := []asked{{"POST /base/" + test.path + "/check-run", "Bearer " + policyToken, body}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s asks (-want +got):\n%s", test.event, diff)
		}
		if _, err := os.Lstat(filepath.Join(c.dir, "policy-token")); !os.IsNotExist(err) {
			t.Error("the token is still there")
		}
	}
	for _, test := range []struct {
		status        int
		says, refused string
	}{
		{403, "This job may not run here: Protect it. ::add-mask::x", "repo-policy-check-failure 403"},
		{401, "Mend the setup", "repo-policy-check-failure 401"},
		{500, "can't be found out: Protect it.", "repo-policy-check-failure 500"},
		{200, "may not run", "repo-policy-check-failure 200"},
	} {
		got, status, reason = nil, test.status, "Protect it.\n::add-mask::x"
		c.write("policy-token", policyToken)
		said, refused, pass := c.run("push", nil)
		if pass || refused != test.refused || !strings.Contains(said, test.says) || strings.Contains(said, "\n::") || strings.Contains(said, policyToken) {
			t.Errorf("HTTP %d: %v %q, it says %s", test.status, pass, refused, said)
		}
		if len(got) != 1 {
			t.Errorf("HTTP %d: it asks %d times", test.status, len(got))
		}
	}
	if said, refused, pass := c.run("push", nil); pass || refused != "repo-policy-check-failure 0" || !strings.Contains(said, "no token") {
		t.Errorf("without a token: %v %q %s", pass, refused, said)
	}
}

func TestCheckConnectsPatiently(t *testing.T) {
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	c := newChecker(t, "http://"+address)
	c.write("policy-token", policyToken)
	said, refused, pass := c.run("push", nil)
	if pass || refused != "repo-policy-check-failure 0" || !strings.Contains(said, "no connection to http://"+address+" within 1 s") {
		t.Errorf("where nobody listens: %v %q %s", pass, refused, said)
	}
}

// A service that restarts hangs up on who it has not heard. Who it heard has no token any
// more.
func TestCheckAsksAgainWhereTheConnectionBreaks(t *testing.T) {
	for name, test := range map[string]struct {
		breaks   int32
		answer   int
		asked    int32
		patience int
		refused  string
		says     string
	}{
		"then it may run":       {breaks: 2, answer: http.StatusNoContent, asked: 3, patience: 60, says: "the job may run"},
		"then the answer is no": {breaks: 1, answer: http.StatusForbidden, asked: 2, patience: 60, refused: "repo-policy-check-failure 403", says: "may not run"},
		"the token is used":     {breaks: 1, answer: http.StatusUnauthorized, asked: 2, patience: 60, refused: "repo-policy-check-failure 503", says: "can't be found out: the connection broke"},
		"for ever":              {breaks: 100, patience: 1, refused: "repo-policy-check-failure 0", says: "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > test.breaks {
					w.WriteHeader(test.answer)
					return
				}
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			}))
			defer server.Close()
			c := newChecker(t, server.URL)
			c.patience = test.patience
			c.write("policy-token", policyToken)
			said, refused, pass := c.run("push", nil)
			if pass != (test.refused == "") || refused != test.refused || !strings.Contains(said, test.says) {
				t.Errorf("%v %q %s", pass, refused, said)
			}
			if test.asked > 0 && asked.Load() != test.asked {
				t.Errorf("it asked %d times", asked.Load())
			}
		})
	}
}

// Where nothing can be written or asked, no step of the job runs: GitHub's application
// starts the script by bash -e.
func TestPreJobScriptRefusesWhateverFails(t *testing.T) {
	machine := Machine{Name: "checked", Policy: &Policy{URL: "http://192.0.2.1:8080", Token: secret.New(policyToken)}}
	_, files := render(t, machine)
	dir := t.TempDir()
	for _, name := range []string{"setsid", "pkill"} { // they are for a runner's processes
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script, temp := filepath.Join(dir, "pre-job.sh"), filepath.Join(dir, "temp")
	if err := errors.Join(os.WriteFile(script, []byte(files[preJobPath].Content), 0o755), os.Mkdir(temp, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-e", script)
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "RUNNER_TEMP=" + temp}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("the job may run: %s", out)
	}
	info, err := os.Stat(temp)
	if err != nil || info.Mode().Perm() != 0 {
		t.Errorf("steps that always run find their folder: %v, %v", info, err)
	}
}

func TestCheckOfAuthors(t *testing.T) {
	c := newChecker(t, "")
	c.members = true
	repo := func(name string) map[string]any { return map[string]any{"repo": map[string]any{"full_name": name}} }
	by := func(association string) map[string]any { return map[string]any{"author_association": association} }
	pull := func(association, head string) map[string]any {
		return map[string]any{"author_association": association, "head": repo(head), "base": repo("acme/widgets")}
	}
	const own, fork = "acme/widgets", "bob/widgets"
	for _, test := range []struct {
		name, event string
		payload     map[string]any
		pass        bool
	}{
		{"push", "push", nil, true},
		{"own branch", "pull_request", map[string]any{"pull_request": pull("NONE", own)}, true},
		{"member's fork", "pull_request", map[string]any{"pull_request": pull("MEMBER", fork)}, true},
		{"owner's fork", "pull_request_target", map[string]any{"pull_request": pull("OWNER", fork)}, true},
		{"collaborator's fork", "pull_request", map[string]any{"pull_request": pull("COLLABORATOR", fork)}, true},
		{"stranger's fork", "pull_request", map[string]any{"pull_request": pull("NONE", fork)}, false},
		{"stranger's fork, target", "pull_request_target", map[string]any{"pull_request": pull("FIRST_TIMER", fork)}, false},
		{"contributor", "pull_request", map[string]any{"pull_request": pull("CONTRIBUTOR", fork)}, false},
		{"contributor of a private one", "pull_request", map[string]any{"pull_request": pull("CONTRIBUTOR", fork), "repository": map[string]any{"private": true}}, true},
		{"stranger of a private one", "pull_request", map[string]any{"pull_request": pull("NONE", fork), "repository": map[string]any{"private": true}}, false},
		{"member's review", "pull_request_review", map[string]any{"pull_request": pull("NONE", fork), "review": by("MEMBER")}, true},
		{"stranger's review", "pull_request_review", map[string]any{"pull_request": pull("MEMBER", fork), "review": by("NONE")}, false},
		{"stranger's line", "pull_request_review_comment", map[string]any{"pull_request": pull("MEMBER", fork), "comment": by("NONE")}, false},
		{"member's comment", "issue_comment", map[string]any{"comment": by("MEMBER")}, true},
		{"stranger's comment", "issue_comment", map[string]any{"comment": by("NONE")}, false},
		{"nothing is known", "pull_request", nil, false},
		{"deleted fork", "pull_request", map[string]any{"pull_request": map[string]any{"head": map[string]any{"repo": nil}, "base": map[string]any{"repo": nil}}}, false},
		{"nonsense", "issue_comment", map[string]any{"comment": []string{"MEMBER"}}, false},
	} {
		said, refused, pass := c.run(test.event, test.payload)
		if pass != test.pass || pass != (refused == "") {
			t.Errorf("%s: %v %q %s", test.name, pass, refused, said)
		}
		if !pass && (refused != "external-contributor-check-failure 0" || !strings.Contains(said, "OWNER, MEMBER or COLLABORATOR")) {
			t.Errorf("%s: %q %s", test.name, refused, said)
		}
	}
}

func TestChecksAreInUserDataWhereThereAreAny(t *testing.T) {
	_, none := render(t, Machine{Name: "none"})
	for _, path := range []string{checkPath, ChecksPath, PolicyTokenPath} {
		if _, ok := none[path]; ok {
			t.Errorf("a machine without checks has %s", path)
		}
	}
	if script := none[preJobPath].Content; strings.Contains(script, "refused") {
		t.Errorf("its pre-job script checks: %s", script)
	}
	machine := aproxyMachine()
	machine.Policy = &Policy{URL: "http://10.1.2.1:8080", Token: secret.New(policyToken)}
	_, files := render(t, machine)
	if f := files[PolicyTokenPath]; f.Content != policyToken || f.Permissions != "0600" {
		t.Errorf("the token's file is %+v", f)
	}
	for path, f := range files {
		if path != PolicyTokenPath && strings.Contains(f.Content, policyToken) {
			t.Errorf("%s holds the token", path)
		}
	}
	if rules := files[aproxyRulesPath].Content; !strings.Contains(rules, "ip daddr 10.1.2.1 tcp dport 8080 return\n") {
		t.Errorf("aproxy is in the way of the policy service: %s", rules)
	}
	for _, url := range []string{"https://policy.example.com/a", "http://[fd00::1]:8080", "http://'; reboot;'"} {
		machine.Policy.URL = url
		if _, files := render(t, machine); strings.Contains(files[aproxyRulesPath].Content, "dport 8080") || strings.Contains(files[aproxyRulesPath].Content, "reboot") {
			t.Errorf("%s gets an exception: %s", url, files[aproxyRulesPath].Content)
		}
	}
}
