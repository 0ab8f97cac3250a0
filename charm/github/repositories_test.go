package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/github"
	"github-runner/charm/policy"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	lab "github-runner/lab/github"
)

const widgets = "acme/widgets"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBranch(t *testing.T) {
	w := newWorld(t, lab.Options{})
	repositories := w.client(nil).Repositories(w.repository())
	check(t, w.Protect(lab.Protection{Repository: widgets, Branch: "feature/a b", Approvals: -1}))
	check(t, w.Protect(lab.Protection{Repository: widgets, Branch: "open", Off: true}))
	for branch, wanted := range map[string]policy.Branch{
		"main": {Default: true}, "feature/a b": {Protected: true}, "open": {},
	} {
		got, err := repositories.Branch(testContext(t), widgets, branch)
		if got != wanted || err != nil {
			t.Errorf("Branch(%q) = %+v, %v", branch, got, err)
		}
	}
	for _, branch := range []string{"gone", "..", ""} {
		if _, err := repositories.Branch(testContext(t), widgets, branch); err == nil {
			t.Errorf("there is a branch %q", branch)
		}
	}
	if _, err := repositories.Branch(testContext(t), widgets, "gone"); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("of a branch that is not there: %v", err)
	}
}

func TestReviews(t *testing.T) {
	w := newWorld(t, lab.Options{})
	repositories := w.client(nil).Repositories(w.repository())
	check(t, w.Protect(lab.Protection{Repository: widgets, Branch: "classic", Approvals: 2}))
	check(t, w.Protect(lab.Protection{Repository: widgets, Branch: "none", Approvals: -1}))
	check(t, w.Protect(lab.Protection{Repository: widgets, Branch: "holes", Approvals: 1, Bypass: []string{"user:bob", "team:ops", "app:bot"}}))
	check(t, w.SetRuleset(lab.Ruleset{Path: widgets, Branch: "modern", Approvals: 1}))
	check(t, w.SetRuleset(lab.Ruleset{Path: widgets, Branch: "bypassed", Approvals: 1, Bypass: []string{"OrganizationAdmin"}}))
	check(t, w.SetRuleset(lab.Ruleset{Path: widgets, Branch: "hidden", Approvals: 1, Hidden: true}))
	check(t, w.SetRuleset(lab.Ruleset{Path: "acme", Branch: "company", Approvals: 3}))
	classic := func(r policy.Reviews) policy.Reviews { r.Source = "the branch protection"; return r }
	for branch, wanted := range map[string][]policy.Reviews{
		"main":     nil,
		"classic":  {classic(policy.Reviews{Approvals: 2})},
		"none":     {classic(policy.Reviews{})},
		"holes":    {classic(policy.Reviews{Approvals: 1, Bypass: []string{"user bob", "team ops", "app bot"}})},
		"modern":   {{Source: `the ruleset "reviews of modern" of acme/widgets`, Approvals: 1}},
		"bypassed": {{Source: `the ruleset "reviews of bypassed" of acme/widgets`, Approvals: 1, Bypass: []string{"OrganizationAdmin 1"}}},
		"hidden":   {{Source: `the ruleset "reviews of hidden" of acme/widgets`, Approvals: 1, Unseen: true}},
		"company":  {{Source: `the ruleset "reviews of company" of acme`, Approvals: 3}},
	} {
		got, err := repositories.Reviews(testContext(t), widgets, branch)
		if diff := cmp.Diff(wanted, got); diff != "" || err != nil {
			t.Errorf("Reviews(%s), error %v (-want +got):\n%s", branch, err, diff)
		}
	}
	w.fault(lab.Fault{Kind: "status", On: "ruleset", Status: http.StatusForbidden})
	if got, err := repositories.Reviews(testContext(t), widgets, "modern"); err != nil || len(got) != 1 || !got[0].Unseen {
		t.Errorf("of a ruleset that may not be seen: %+v, %v", got, err)
	}
	w.fault(lab.Fault{Kind: "status", On: "rules", Status: http.StatusBadGateway})
	if _, err := repositories.Reviews(testContext(t), widgets, "modern"); !errors.Is(err, runner.ErrUnreachable) {
		t.Errorf("without the rules: %v", err)
	}
}

// Everything is beyond the first page.
func TestListsAreReadToTheirEnd(t *testing.T) {
	w := newWorld(t, lab.Options{})
	repositories := w.client(nil).Repositories(w.repository())
	const many = 230
	for i := range many {
		check(t, w.SetCollaborator(lab.Collaborator{Repository: widgets, Login: fmt.Sprintf("reader%d", i), Role: "read"}))
		_, err := w.OpenPull(lab.Pull{Repository: widgets, HeadRepository: fmt.Sprintf("bob/fork%d", i), HeadRef: "feature"})
		check(t, err)
		check(t, w.AddComment(lab.Comment{Repository: widgets, Number: 1, Author: "bob", Body: "no"}))
		check(t, w.SetRuleset(lab.Ruleset{Path: widgets, Branch: "main", Approvals: 1}))
	}
	check(t, w.SetCollaborator(lab.Collaborator{Repository: widgets, Login: "zoe", Role: "admin"}))
	check(t, w.SetCollaborator(lab.Collaborator{Repository: widgets, Login: "member", Role: "admin", Member: true}))
	check(t, w.AddComment(lab.Comment{Repository: widgets, Number: 1, Author: "zoe", Body: "yes"}))

	people, err := repositories.OutsideCollaborators(testContext(t), widgets)
	if err != nil || len(people) != many+1 || people[many] != (policy.Collaborator{Login: "zoe", Role: "admin"}) {
		t.Errorf("%d collaborators, %v", len(people), err)
	}
	pulls, err := repositories.PullRequests(testContext(t), widgets, "Bob/Fork229", "feature")
	if diff := cmp.Diff([]int{many}, pulls); diff != "" || err != nil {
		t.Errorf("pull requests, error %v (-want +got):\n%s", err, diff)
	}
	comments, err := repositories.Comments(testContext(t), widgets, 1)
	if err != nil || len(comments) != many+1 || comments[many] != (policy.Comment{Author: "zoe", Body: "yes"}) {
		t.Errorf("%d comments, %v", len(comments), err)
	}
	reviews, err := repositories.Reviews(testContext(t), widgets, "main")
	if err != nil || len(reviews) != many {
		t.Errorf("%d rulesets, %v", len(reviews), err)
	}
}

func TestPullRequestsAreThoseOfOneHead(t *testing.T) {
	w := newWorld(t, lab.Options{})
	repositories := w.client(nil).Repositories(w.repository())
	for _, pull := range []lab.Pull{
		{HeadRepository: "bob/widgets", HeadRef: "feature"},
		{HeadRepository: "bob/widgets", HeadRef: "feature", Closed: true},
		{HeadRepository: "bob/widgets", HeadRef: "other"},
		{HeadRepository: "bob/second", HeadRef: "feature"},
		{HeadRepository: "eve/widgets", HeadRef: "feature"},
	} {
		pull.Repository = widgets
		_, err := w.OpenPull(pull)
		check(t, err)
	}
	got, err := repositories.PullRequests(testContext(t), widgets, "bob/widgets", "feature")
	if diff := cmp.Diff([]int{1}, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestPermission(t *testing.T) {
	w := newWorld(t, lab.Options{})
	repositories := w.client(nil).Repositories(w.repository())
	roles := map[string]string{"admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read"}
	for role, wanted := range roles {
		check(t, w.SetCollaborator(lab.Collaborator{Repository: widgets, Login: role, Role: role}))
		if got, err := repositories.Permission(testContext(t), widgets, role); got != wanted || err != nil {
			t.Errorf("Permission of one with the role %s = %q, %v", role, got, err)
		}
	}
	for _, login := range []string{"", "..", "dependabot[bot]", "a/b"} {
		if _, err := repositories.Permission(testContext(t), widgets, login); !errors.Is(err, runner.ErrNotFound) {
			t.Errorf("Permission of %q: %v", login, err)
		}
	}
}

func TestServes(t *testing.T) {
	w := newWorld(t, lab.Options{})
	former := runner.Scope{API: w.url + "/api/v3", Path: "old/place"}
	repositories := w.client(nil).Repositories(w.organization(), former)
	for repository, wanted := range map[string]bool{
		"acme/any": true, "ACME/any": true, "old/place": true, "old/other": false, "evil/any": false, "acme": false, "acme/a/b": false, "": false, "acme/..": false,
	} {
		if repositories.Serves(repository) != wanted {
			t.Errorf("Serves(%q) = %v", repository, !wanted)
		}
	}
	if _, err := repositories.OutsideCollaborators(testContext(t), "evil/any"); err == nil {
		t.Error("a repository of others is asked about")
	}
}

func TestRepositoriesOfAFormerScope(t *testing.T) {
	w := newWorld(t, lab.Options{})
	former := runner.Scope{API: w.url + "/api/v3", Path: "old/place"}
	client := w.client(func(o *github.Options) {
		o.Former = map[runner.Scope]github.Credential{former: {Token: secret.New("ghp_former")}}
	})
	w.fault(lab.Fault{Kind: "status", On: "collaborators", Status: http.StatusNotFound, Token: token})
	if _, err := client.Repositories(w.repository(), former).OutsideCollaborators(testContext(t), "old/place"); err != nil {
		t.Errorf("where the former token may look: %v", err)
	}
	if _, err := client.Repositories(w.repository(), former).OutsideCollaborators(testContext(t), widgets); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("where it has no business: %v", err)
	}
}

func TestCheck(t *testing.T) {
	w := newWorld(t, lab.Options{})
	client := w.client(nil)
	check(t, client.Repositories(w.repository()).Check(testContext(t)))
	w.fault(lab.Fault{Kind: "revoked"})
	if err := client.Repositories(w.repository()).Check(testContext(t)); !errors.Is(err, runner.ErrUnauthorized) {
		t.Errorf("with a revoked token: %v", err)
	}
	if err := client.Repositories().Check(testContext(t)); err == nil {
		t.Error("without a scope all is well")
	}
}

func TestRateLimitReachesTheRules(t *testing.T) {
	w := newWorld(t, lab.Options{})
	w.fault(lab.Fault{Kind: "primary", On: "collaborators"})
	_, err := w.client(nil).Repositories(w.repository()).OutsideCollaborators(testContext(t), widgets)
	var limit runner.RateLimited
	if !errors.As(err, &limit) || time.Until(limit.Until) <= 0 {
		t.Errorf("in a rate limit: %v", err)
	}
}

// What GitHub never sends is not taken for an empty list or for no protection.
func TestOddAnswersAreErrors(t *testing.T) {
	for _, body := range []string{"", "null", "{}", "[{}]", "[null]", "nonsense", `[{"login": "zoe"}]`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
		repositories := client.Repositories(runner.Scope{API: server.URL, Path: "acme"})
		if got, err := repositories.OutsideCollaborators(testContext(t), widgets); err == nil {
			t.Errorf("%q: collaborators %v", body, got)
		}
		if got, err := repositories.Branch(testContext(t), widgets, "main"); err == nil {
			t.Errorf("%q: branch %v", body, got)
		}
		if got, err := repositories.Permission(testContext(t), widgets, "zoe"); err == nil {
			t.Errorf("%q: permission %v", body, got)
		}
		for _, reviews := range must(repositories.Reviews(testContext(t), widgets, "main")) {
			if reviews.Approvals > 0 {
				t.Errorf("%q: reviews %v", body, reviews)
			}
		}
		client.Close()
		server.Close()
	}
}

// must drops an error where only what comes without one is of interest.
func must[T any](value []T, err error) []T {
	if err != nil {
		return nil
	}
	return value
}

// Older servers name no role, and a role of a harmless name may be allowed more.
func TestRolesThatAreNotNamed(t *testing.T) {
	for body, wanted := range map[string]string{
		`[{"login": "zoe", "permissions": {"pull": true, "push": true}}]`:                                       "write",
		`[{"login": "zoe", "permissions": {"pull": true}}]`:                                                     "read",
		`[{"login": "zoe", "role_name": "read", "permissions": {"pull": true, "triage": true, "push": false}}]`: "triage",
		`[{"login": "zoe", "role_name": "read"}]`:                                                               "read",
		`[{"login": "zoe", "role_name": "security", "permissions": {"pull": true}}]`:                            "security",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
		got, err := client.Repositories(runner.Scope{API: server.URL, Path: "acme"}).OutsideCollaborators(testContext(t), widgets)
		if err != nil || len(got) != 1 || got[0].Role != wanted {
			t.Errorf("%s: %v, %v", strings.TrimSpace(body), got, err)
		}
		client.Close()
		server.Close()
	}
}
