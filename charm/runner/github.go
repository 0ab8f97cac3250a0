package runner

import (
	"context"

	"github-runner/charm/secret"
)

// GitHub is the part of GitHub's API that runners need. Its errors say what could
// not be done and where, so that they can be shown as they are.
type GitHub interface {
	// Runners lists the registrations of a scope whose names start with
	// prefix. ErrUnauthorized, ErrForbidden, ErrNotFound, RateLimited and
	// ErrUnreachable say why it could not.
	Runners(ctx context.Context, scope Scope, prefix string) ([]Registration, error)

	// Ready returns nil when a runner could be registered in a scope and group,
	// as far as that can be known without registering one.
	Ready(ctx context.Context, scope Scope, group string) error

	// Runner returns one registration; ErrNotFound is GitHub's own 404.
	Runner(ctx context.Context, scope Scope, id int64) (Registration, error)

	// Register makes the registration of one single-use runner and returns it
	// with the encoded JIT configuration. ErrExists when the name is taken.
	Register(ctx context.Context, scope Scope, request Request) (Registration, secret.Text, error)

	// Deregister removes a registration: nil when it is gone, ErrBusy while
	// GitHub says that it runs a job.
	Deregister(ctx context.Context, scope Scope, id int64) error
}

// Request is what a new registration is asked for with.
type Request struct {
	Name   string
	Group  string
	Labels []string
}

// Registration is one runner as GitHub knows it.
type Registration struct {
	ID     int64
	Name   string
	Online bool
	Busy   bool
	Labels []string
	Scope  Scope
}
