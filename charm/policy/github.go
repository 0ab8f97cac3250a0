package policy

import "context"

// GitHub is what the rules ask about repositories, which are named "owner/name".
// Lists are complete or an error. The errors are those of package runner:
// runner.ErrNotFound where something does not exist or may not be seen,
// runner.RateLimited, and others.
type GitHub interface {
	// Serves reports whether the unit's runners are for this repository.
	Serves(repository string) bool
	// Branch looks up a branch.
	Branch(ctx context.Context, repository, branch string) (Branch, error)
	// Reviews returns what asks for reviews before something gets into a branch:
	// its classic protection and rulesets.
	Reviews(ctx context.Context, repository, branch string) ([]Reviews, error)
	// OutsideCollaborators are those who are not members of the organisation.
	OutsideCollaborators(ctx context.Context, repository string) ([]Collaborator, error)
	// Permission is what an account may do: "admin", "write", "read" or "none".
	Permission(ctx context.Context, repository, login string) (string, error)
	// PullRequests returns the numbers of the open pull requests that come from a
	// branch of a repository, be it a fork or the repository itself.
	PullRequests(ctx context.Context, repository, headRepository, headBranch string) ([]int, error)
	// Comments returns the comments on a pull request.
	Comments(ctx context.Context, repository string, number int) ([]Comment, error)
	// Check is nil when GitHub answers and takes the token.
	Check(ctx context.Context) error
}

// Branch is a branch of a repository.
type Branch struct {
	// Protected is GitHub's word for any protection.
	Protected bool
	// Default is set for the branch that a repository shows first.
	Default bool
}

// Reviews is one thing that asks for reviews of pull requests.
type Reviews struct {
	// Source names it for a person: "branch protection", `ruleset "main"`.
	Source string
	// Approvals is how many people must approve.
	Approvals int
	// Bypass are those who need no review, as names for a person.
	Bypass []string
	// Unseen is set where the token may not see who needs none.
	Unseen bool
}

// Collaborator is an account with a role in a repository.
type Collaborator struct {
	Login string
	// Role is GitHub's name for it, such as "read" or "maintain", or the name of a
	// role that the organisation made.
	Role string
}

// Comment is what somebody wrote under a pull request.
type Comment struct {
	Author string
	Body   string
}
