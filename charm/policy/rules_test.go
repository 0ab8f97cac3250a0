package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github-runner/charm/runner"
)

func pull(source, target string) request {
	return request{Repository: "acme/widgets", Source: source, Target: target, Branch: "feature", Commit: commit}
}

func TestRules(t *testing.T) {
	const own, fork = "acme/widgets", "stranger/widgets"
	tests := []struct {
		name   string
		change func(w *world)
		event  string
		asked  request
		policy string
		// refused is part of the reason; "": it passes. An error is part of what
		// could not be found out.
		refused string
		err     string
	}{
		{name: "own branch to the default one", event: eventPullRequest, asked: pull(own, "main")},
		{name: "own branch, in other letters", event: eventPullRequest, asked: pull("Acme/Widgets", "release")},
		{name: "own branch to a protected one without reviews", event: eventPullRequest, asked: pull(own, "release")},
		{name: "own branch to one with a ruleset", event: eventPullRequest, asked: pull(own, "modern")},
		{name: "own branch to one that is not protected", event: eventPullRequest, asked: pull(own, "wild"), refused: "Protect the branch wild of acme/widgets"},
		{name: "own branch to one that is not there", event: eventPullRequest, asked: pull(own, "gone"), refused: "not set up as it must be (target_branch_protection)"},
		{name: "fork with the comment", event: eventPullRequest, asked: pull(fork, "main")},
		{name: "fork with the comment, to one with a ruleset", event: eventPullRequest, asked: pull(fork, "modern")},
		{name: "fork to a branch without reviews", event: eventPullRequest, asked: pull(fork, "release"), refused: "reviews are not required"},
		{
			name: "no approval is asked for", event: eventPullRequest, asked: pull(own, "main"),
			change:  func(w *world) { w.reviews["acme/widgets main"][0].Approvals = 0 },
			refused: "branch protection asks for no approval",
		},
		{
			name: "somebody may bypass", event: eventPullRequest, asked: pull(own, "main"),
			change:  func(w *world) { w.reviews["acme/widgets main"][0].Bypass = []string{"user bob", "team ops"} },
			refused: "branch protection can be bypassed by user bob, team ops",
		},
		{
			name: "a ruleset beside a protection that can be bypassed", event: eventPullRequest, asked: pull(own, "main"),
			change: func(w *world) {
				w.reviews["acme/widgets main"] = []Reviews{{Source: "branch protection", Approvals: 1, Bypass: []string{"user bob"}}, {Source: "ruleset", Approvals: 1}}
			},
		},
		{
			name: "who may bypass can't be seen", event: eventPullRequest, asked: pull(own, "main"),
			change: func(w *world) {
				w.reviews["acme/widgets main"] = []Reviews{{Source: `ruleset "x"`, Approvals: 1, Unseen: true}}
			},
			err: `who may bypass ruleset "x"`,
		},
		{
			name: "outsiders who write", event: eventPush, asked: request{Repository: own},
			change: func(w *world) {
				w.collaborators[own] = append(w.collaborators[own], Collaborator{"zoe", "write"}, Collaborator{"abe", "custom"})
			},
			refused: "Reduce it, or remove: abe (custom), zoe (write).",
		},
		{name: "push", event: eventPush, asked: request{Repository: own}},
		{name: "schedule", event: eventSchedule, asked: request{Repository: own}},
		{name: "dispatch", event: eventDispatch, asked: request{Repository: own}},
		{name: "anything else", event: eventDefault, asked: request{Repository: own}},
		{name: "a repository of others", event: eventPush, asked: request{Repository: "evil/widgets"}, refused: "does not serve the repository evil/widgets"},
		{
			name: "the default of forks where a policy is set", event: eventPullRequest, asked: pull(fork, "main"), policy: `{}`,
			refused: "Pull requests from the fork stranger/widgets run no jobs here",
		},
		{name: "own branch where forks are not allowed", event: eventPullRequest, asked: pull(own, "main"), policy: `{}`},
		{
			name: "fork of a writer where forks are not allowed", event: eventPullRequest, asked: pull("writer/widgets", "main"), policy: `{}`,
		},
		{
			name: "only forks are not allowed", event: eventPullRequest, asked: pull(own, "wild"),
			change: func(w *world) { w.collaborators[own] = []Collaborator{{"zoe", "admin"}} },
			policy: `{"pull_request": {"target_branch_protection": {"enabled": false}, "collaborators": {"enabled": false}, "execute_job": {"enabled": false}}}`,
		},
		{
			name: "a rule that is off for another event", event: eventPush, asked: request{Repository: own},
			change:  func(w *world) { w.collaborators[own] = []Collaborator{{"zoe", "admin"}} },
			policy:  `{"schedule": {"collaborators": {"enabled": false}}}`,
			refused: "zoe (admin)",
		},
		{name: "fork of an admin", event: eventPullRequest, asked: pull("chief/widgets", "main")},
		{
			name: "fork of an organisation, without pull request", event: eventPullRequest, asked: pull("org/widgets", "main"),
			refused: "There is no open pull request of acme/widgets from the branch feature of org/widgets.",
		},
		{
			name: "the comment is by somebody who may not push", event: eventPullRequest, asked: pull("other/widgets", "main"),
			refused: "The comment to run this commit is by triager, without write access.",
		},
		{
			name: "the comment is under another fork's pull request", event: eventPullRequest, asked: pull(fork, "main"),
			change: func(w *world) {
				w.comments["acme/widgets 7"], w.comments["acme/widgets 8"] = nil, w.comments["acme/widgets 7"]
			},
			refused: "No comment lets this commit of the fork stranger/widgets run.",
		},
		{
			name: "the comment is for another commit", event: eventPullRequest, asked: pull(fork, "main"),
			change: func(w *world) {
				w.comments["acme/widgets 7"] = []Comment{{"writer", command + " " + strings.Repeat("f", 40)}}
			},
			refused: command + " " + commit,
		},
		{
			name: "the commenter is gone", event: eventPullRequest, asked: pull(fork, "main"),
			change: func(w *world) {
				w.comments["acme/widgets 7"] = []Comment{{"ghost", command + " " + commit}}
			},
			refused: "by ghost, without write access",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := compliant()
			if test.change != nil {
				test.change(w)
			}
			var document Document
			if test.policy != "" {
				var err error
				if document, err = ParseDocument([]byte(test.policy)); err != nil {
					t.Fatal(err)
				}
			}
			err := judge(t.Context(), w, document, test.event, test.asked)
			var refused failure
			switch {
			case test.refused != "":
				if !errors.As(err, &refused) || !strings.Contains(refused.reason, test.refused) {
					t.Errorf("judged: %v", err)
				}
			case test.err != "":
				if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("judged: %v", err)
				}
			case err != nil:
				t.Errorf("judged: %v", err)
			}
		})
	}
}

// Whatever call fails, for whatever reason, nothing passes.
func TestAnErrorIsNeverAPass(t *testing.T) {
	limit := runner.RateLimited{Until: time.Now().Add(time.Hour)}
	calls := map[string][]string{
		eventPullRequest: {"Branch", "Reviews", "OutsideCollaborators", "Permission", "PullRequests", "Comments"},
		eventPush:        {"OutsideCollaborators"}, eventSchedule: {"OutsideCollaborators"},
		eventDispatch: {"OutsideCollaborators"}, eventDefault: {"OutsideCollaborators"},
	}
	for event, methods := range calls {
		for _, method := range methods {
			for _, kind := range []error{runner.ErrUnreachable, runner.ErrUnauthorized, runner.ErrForbidden, runner.ErrNotFound, limit, errors.New("odd")} {
				w := compliant()
				w.failures[method] = fmt.Errorf("in a test: %w", kind)
				err := judge(t.Context(), w, nil, event, pull("stranger/widgets", "main"))
				var refused failure
				if err == nil {
					t.Errorf("%s passes although %s fails: %v", event, method, kind)
				}
				if isRefusal := errors.As(err, &refused); isRefusal != errors.Is(kind, runner.ErrNotFound) {
					t.Errorf("%s, where %s fails (%v): %v", event, method, kind, err)
				}
			}
		}
	}
}

func TestAuthorises(t *testing.T) {
	right := command + " " + commit
	for body, wanted := range map[string]bool{
		right:                                   true,
		"Please: " + right + ", thanks":         true,
		right + "é":                             false,
		"Please: " + right + " thanks":          true,
		"Hello\r\n" + right + "\r\n":            true,
		command + "\t  " + commit:               true,
		"> " + right:                            false,
		"  >> " + right:                         false,
		"> quoted\n" + right:                    true,
		right + "0":                             false,
		command + " " + commit[:39]:             false,
		command + commit:                        false,
		command + "\n" + commit:                 false,
		command + " x " + right:                 true,
		command:                                 false,
		"":                                      false,
		strings.ToUpper(command) + " " + commit: false,
	} {
		if authorises(body, commit) != wanted {
			t.Errorf("authorises(%q) = %v", body, !wanted)
		}
	}
}
