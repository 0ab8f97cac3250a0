package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// AnswerLife is how long an answer of GitHub's is taken for the truth.
	AnswerLife = time.Minute
	// maxAnswers bounds how many are kept.
	maxAnswers = 1024
)

// answers keeps what GitHub said, so that a burst of jobs asks it once. Failures
// are not kept. Several who want the same answer wait for one call.
type answers struct {
	mu    sync.Mutex
	known map[string]*answer
}

// answer is one that was given or is waited for.
type answer struct {
	// ready closes when the rest is there.
	ready chan struct{}
	value any
	err   error
	asked time.Time
}

func newAnswers() *answers {
	return &answers{known: map[string]*answer{}}
}

// find returns an answer that is younger than since, or makes room for one that
// the caller must give.
func (a *answers) find(key string, since time.Time) (found *answer, ours bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found = a.known[key]; found != nil && found.asked.After(since) {
		return found, false
	}
	a.shrink()
	found = &answer{ready: make(chan struct{}), asked: time.Now()}
	a.known[key] = found
	return found, true
}

// shrink makes room for one more: old answers go, then the oldest.
func (a *answers) shrink() {
	if len(a.known) < maxAnswers {
		return
	}
	limit := time.Now().Add(-AnswerLife)
	oldest := ""
	for key, one := range a.known {
		if !one.asked.After(limit) {
			delete(a.known, key)
		} else if oldest == "" || one.asked.Before(a.known[oldest].asked) {
			oldest = key
		}
	}
	if len(a.known) >= maxAnswers {
		delete(a.known, oldest)
	}
}

func (a *answers) drop(key string, failed *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[key] == failed {
		delete(a.known, key)
	}
}

// remembered is a GitHub whose answers are kept. It belongs to one check.
type remembered struct {
	GitHub
	answers *answers
	// since is how old an answer may be.
	since time.Time
	// kept is set once an answer was not asked for by this check.
	kept bool
}

// recall returns a kept answer, or asks for it. Where somebody else's call failed,
// their failure is not ours: this one asks itself.
func recall[T any](ctx context.Context, r *remembered, key string, ask func() (T, error)) (T, error) {
	var none T
	for {
		one, ours := r.answers.find(key, r.since)
		if ours {
			value, err := ask()
			if one.value, one.err = value, err; err != nil {
				r.answers.drop(key, one)
			}
			close(one.ready)
			return value, err
		}
		select {
		case <-one.ready:
		case <-ctx.Done():
			return none, ctx.Err()
		}
		if one.err == nil {
			r.kept = true
			return one.value.(T), nil
		}
	}
}

func (r *remembered) Branch(ctx context.Context, repository, branch string) (Branch, error) {
	return recall(ctx, r, keyOf("branch", repository, branch), func() (Branch, error) {
		return r.GitHub.Branch(ctx, repository, branch)
	})
}

func (r *remembered) Reviews(ctx context.Context, repository, branch string) ([]Reviews, error) {
	return recall(ctx, r, keyOf("reviews", repository, branch), func() ([]Reviews, error) {
		return r.GitHub.Reviews(ctx, repository, branch)
	})
}

func (r *remembered) OutsideCollaborators(ctx context.Context, repository string) ([]Collaborator, error) {
	return recall(ctx, r, keyOf("collaborators", repository), func() ([]Collaborator, error) {
		return r.GitHub.OutsideCollaborators(ctx, repository)
	})
}

func (r *remembered) Permission(ctx context.Context, repository, login string) (string, error) {
	return recall(ctx, r, keyOf("permission", repository, login), func() (string, error) {
		return r.GitHub.Permission(ctx, repository, login)
	})
}

func (r *remembered) PullRequests(ctx context.Context, repository, headRepository, headBranch string) ([]int, error) {
	return recall(ctx, r, keyOf("pulls", repository, headRepository, headBranch), func() ([]int, error) {
		return r.GitHub.PullRequests(ctx, repository, headRepository, headBranch)
	})
}

func (r *remembered) Comments(ctx context.Context, repository string, number int) ([]Comment, error) {
	return recall(ctx, r, keyOf("comments", repository, fmt.Sprint(number)), func() ([]Comment, error) {
		return r.GitHub.Comments(ctx, repository, number)
	})
}

// verdict is how a Check ended. It is kept in either case.
type verdict struct {
	err error
}

func (r *remembered) Check(ctx context.Context) error {
	found, err := recall(ctx, r, keyOf("check"), func() (verdict, error) {
		err := r.GitHub.Check(ctx)
		// Who hung up says nothing about GitHub.
		return verdict{err}, context.Cause(ctx)
	})
	return errors.Join(err, found.err)
}

// keyOf quotes the words: names from outside may have any character.
func keyOf(words ...string) string {
	return fmt.Sprintf("%q", words)
}
