package policy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github-runner/charm/runner"
)

// world is a GitHub for the tests of rules. Keys are as the methods' arguments,
// joined by spaces; what has no entry does not exist.
type world struct {
	mu            sync.Mutex
	calls         []string
	branches      map[string]Branch
	reviews       map[string][]Reviews
	collaborators map[string][]Collaborator
	permissions   map[string]string
	pulls         map[string][]int
	comments      map[string][]Comment
	// failures are errors by the name of a method.
	failures map[string]error
	// during is called within each call.
	during func()
}

func (w *world) note(method string, args ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, strings.Join(append([]string{method}, args...), " "))
	if w.during != nil {
		w.during()
	}
	return w.failures[method]
}

func (w *world) count(prefix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := 0
	for _, call := range w.calls {
		if strings.HasPrefix(call, prefix) {
			count++
		}
	}
	return count
}

func look[T any](w *world, found map[string]T, method string, args ...string) (T, error) {
	var none T
	if err := w.note(method, args...); err != nil {
		return none, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	value, ok := found[strings.Join(args, " ")]
	if !ok {
		return none, fmt.Errorf("%w: %s %v", runner.ErrNotFound, method, args)
	}
	return value, nil
}

func (w *world) Serves(repository string) bool {
	return strings.HasPrefix(strings.ToLower(repository), "acme/")
}

func (w *world) Branch(_ context.Context, repository, branch string) (Branch, error) {
	return look(w, w.branches, "Branch", repository, branch)
}

func (w *world) Reviews(_ context.Context, repository, branch string) ([]Reviews, error) {
	return w.reviews[repository+" "+branch], w.note("Reviews", repository, branch)
}

func (w *world) OutsideCollaborators(_ context.Context, repository string) ([]Collaborator, error) {
	return w.collaborators[repository], w.note("OutsideCollaborators", repository)
}

func (w *world) Permission(_ context.Context, repository, login string) (string, error) {
	return look(w, w.permissions, "Permission", repository, login)
}

func (w *world) PullRequests(_ context.Context, repository, headRepository, headBranch string) ([]int, error) {
	return w.pulls[repository+" "+headRepository+" "+headBranch], w.note("PullRequests", repository, headRepository, headBranch)
}

func (w *world) Comments(_ context.Context, repository string, number int) ([]Comment, error) {
	return look(w, w.comments, "Comments", repository, fmt.Sprint(number))
}

func (w *world) Check(context.Context) error {
	return w.note("Check")
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// compliant is a repository whose pull requests may run, from itself and, for one
// commit, from a stranger's fork.
func compliant() *world {
	return &world{
		branches: map[string]Branch{
			"acme/widgets main":    {Protected: true, Default: true},
			"acme/widgets release": {Protected: true},
			"acme/widgets wild":    {},
			"acme/widgets modern":  {},
		},
		reviews: map[string][]Reviews{
			"acme/widgets main":   {{Source: "branch protection", Approvals: 1}},
			"acme/widgets modern": {{Source: `ruleset "modern"`, Approvals: 2}},
		},
		collaborators: map[string][]Collaborator{"acme/widgets": {{Login: "reader", Role: "read"}}},
		permissions: map[string]string{
			"acme/widgets stranger": "read", "acme/widgets writer": "write", "acme/widgets chief": "admin",
			"acme/widgets triager": "read", "acme/widgets other": "none",
		},
		pulls: map[string][]int{
			"acme/widgets stranger/widgets feature": {7},
			"acme/widgets other/widgets feature":    {8},
		},
		comments: map[string][]Comment{
			"acme/widgets 7": {
				{Author: "triager", Body: "hello"},
				{Author: "writer", Body: "Fine.\n\n" + command + " " + commit + "\n"},
			},
			"acme/widgets 8": {{Author: "triager", Body: command + " " + commit}},
		},
		failures: map[string]error{},
	}
}
