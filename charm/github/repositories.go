package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/policy"
	"github-runner/charm/runner"
)

var _ policy.GitHub = (*Repositories)(nil)

// reviewCounts is the media type in which older enterprise servers tell how many
// approvals a branch protection asks for.
const reviewCounts = "application/vnd.github.luke-cage-preview+json"

// Repositories is what the repository policy asks about the repositories of some
// scopes: their branches, collaborators and pull requests.
type Repositories struct {
	client *Client
	scopes []runner.Scope
}

// Repositories returns the repositories of scopes, which have one API; the first
// is the current one.
func (c *Client) Repositories(scopes ...runner.Scope) *Repositories {
	return &Repositories{client: c, scopes: scopes}
}

// Serves implements policy.GitHub.
func (r *Repositories) Serves(repo string) bool {
	_, err := r.scopeOf(repo)
	return err == nil
}

func (r *Repositories) scopeOf(repo string) (runner.Scope, error) {
	for _, scope := range r.scopes {
		if within(scope, repo) == nil {
			return scope, nil
		}
	}
	return runner.Scope{}, fmt.Errorf("repository %q is none that the unit's runners serve", repo)
}

// Branch implements policy.GitHub.
func (r *Repositories) Branch(ctx context.Context, repo, branch string) (policy.Branch, error) {
	var whole struct {
		DefaultBranch string `json:"default_branch"`
	}
	if err := r.get(ctx, repo, "the repository "+repo, "", &whole); err != nil {
		return policy.Branch{}, err
	}
	var one struct {
		Name      string `json:"name"`
		Protected *bool  `json:"protected"`
	}
	what := fmt.Sprintf("the branch %s of %s", branch, repo)
	if err := r.get(ctx, repo, what, "/branches/"+url.PathEscape(branch), &one); err != nil {
		return policy.Branch{}, err
	}
	if whole.DefaultBranch == "" || one.Name != branch || one.Protected == nil {
		return policy.Branch{}, fmt.Errorf("cannot look up %s: %w", what, badAnswer("it tells of no such branch"))
	}
	return policy.Branch{Protected: *one.Protected, Default: branch == whole.DefaultBranch}, nil
}

// OutsideCollaborators implements policy.GitHub.
func (r *Repositories) OutsideCollaborators(ctx context.Context, repo string) ([]policy.Collaborator, error) {
	type account struct {
		Login       string          `json:"login"`
		Role        string          `json:"role_name"`
		Permissions map[string]bool `json:"permissions"`
	}
	all, err := list[account](ctx, r, repo, "the collaborators of "+repo, "/collaborators", url.Values{"affiliation": {"outside"}})
	if err != nil {
		return nil, err
	}
	var result []policy.Collaborator
	for _, one := range all {
		role := one.Role
		// Servers that name no role tell what may be done, and a role of that name
		// may have been given more.
		if may := highest(one.Permissions); role == "" || role == "read" && may != "" {
			role = may
		}
		if one.Login == "" || role == "" {
			return nil, fmt.Errorf("cannot list the collaborators of %s: %w", repo, badAnswer("it tells of a collaborator without name or role"))
		}
		result = append(result, policy.Collaborator{Login: one.Login, Role: role})
	}
	return result, nil
}

// highest is the name of the role that has these permissions; "" where they are
// not told.
func highest(permissions map[string]bool) string {
	for _, one := range []struct{ permission, role string }{
		{"admin", "admin"}, {"maintain", "maintain"}, {"push", "write"}, {"triage", "triage"}, {"pull", "read"},
	} {
		if permissions[one.permission] {
			return one.role
		}
	}
	return ""
}

// Permission implements policy.GitHub.
func (r *Repositories) Permission(ctx context.Context, repo, login string) (string, error) {
	what := fmt.Sprintf("what %s may do in %s", login, repo)
	if !isName(login) {
		return "", fmt.Errorf("cannot look up %q: %w: no account has such a name", what, runner.ErrNotFound)
	}
	var level struct {
		Permission string `json:"permission"`
	}
	if err := r.get(ctx, repo, what, "/collaborators/"+url.PathEscape(login)+"/permission", &level); err != nil {
		return "", err
	}
	if level.Permission == "" {
		return "", fmt.Errorf("cannot look up %s: %w", what, badAnswer("it tells of no permission"))
	}
	return level.Permission, nil
}

// PullRequests implements policy.GitHub. Two forks may have branches of one name.
func (r *Repositories) PullRequests(ctx context.Context, repo, headRepo, headBranch string) ([]int, error) {
	type pull struct {
		Number int    `json:"number"`
		State  string `json:"state"`
		Head   struct {
			Ref  string `json:"ref"`
			Repo struct {
				FullName string `json:"full_name"`
			} `json:"repo"`
		} `json:"head"`
	}
	owner, _, _ := strings.Cut(headRepo, "/")
	query := url.Values{"state": {"open"}, "head": {owner + ":" + headBranch}}
	all, err := list[pull](ctx, r, repo, "the pull requests of "+repo, "/pulls", query)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, one := range all {
		if one.State == "open" && one.Head.Ref == headBranch && strings.EqualFold(one.Head.Repo.FullName, headRepo) {
			numbers = append(numbers, one.Number)
		}
	}
	return numbers, nil
}

// Comments implements policy.GitHub. Those of accounts that are gone are nobody's.
func (r *Repositories) Comments(ctx context.Context, repo string, number int) ([]policy.Comment, error) {
	type comment struct {
		Body string `json:"body"`
		User struct {
			Login string `json:"login"`
		} `json:"user"`
	}
	what := fmt.Sprintf("the comments on pull request %d of %s", number, repo)
	all, err := list[comment](ctx, r, repo, what, fmt.Sprintf("/issues/%d/comments", number), url.Values{})
	if err != nil {
		return nil, err
	}
	var result []policy.Comment
	for _, one := range all {
		if one.User.Login != "" {
			result = append(result, policy.Comment{Author: one.User.Login, Body: one.Body})
		}
	}
	return result, nil
}

// Check implements policy.GitHub by a call that costs nothing of the rate limit. An
// enterprise server without limits has no such thing to show.
func (r *Repositories) Check(ctx context.Context) error {
	if len(r.scopes) == 0 {
		return errors.New("cannot ask GitHub: the unit has no path yet")
	}
	scope := r.scopes[0]
	missing := refusal{notFound: "the server has no rate limit"}
	err := r.client.query(ctx, call{scope: scope, credential: r.client.options.Credential, refusal: missing}, func(ctx context.Context, api *gh.Client) error {
		request, err := api.NewRequest(http.MethodGet, "rate_limit", nil)
		if err != nil {
			return err
		}
		_, err = api.Do(ctx, request, nil)
		return err
	})
	if err != nil && !errors.Is(err, runner.ErrNotFound) {
		return fmt.Errorf("cannot ask GitHub: %w", err)
	}
	return nil
}

// list reads a list to its end.
func list[T any](ctx context.Context, r *Repositories, repo, what, path string, query url.Values) ([]T, error) {
	var all []T
	query.Set("per_page", strconv.Itoa(perPage))
	for page := 1; page > 0; {
		if page > maxPages {
			return nil, fmt.Errorf("cannot look up %s: there are more than %d", what, maxPages*perPage)
		}
		query.Set("page", strconv.Itoa(page))
		var some []T
		next, err := r.ask(ctx, repo, what, path+"?"+query.Encode(), &some)
		if err == nil && (some == nil || next != 0 && next <= page) {
			err = fmt.Errorf("cannot look up %s: %w", what, badAnswer("it lists nothing, or its pages have no end"))
		}
		if err != nil {
			return nil, err
		}
		all, page = append(all, some...), next
	}
	return all, nil
}

func (r *Repositories) get(ctx context.Context, repo, what, path string, into any) error {
	_, err := r.ask(ctx, repo, what, path, into)
	return err
}

// ask makes one call about a repository, and once more with the token of a former
// scope where the current one may not see it. It returns the number of the next
// page.
func (r *Repositories) ask(ctx context.Context, repo, what, path string, into any) (next int, err error) {
	scope, err := r.scopeOf(repo)
	if err != nil {
		return 0, err
	}
	target := runner.Scope{API: scope.API, Path: repo}
	return r.askFor(ctx, scope, target, what, fmt.Sprintf("repos/%s/%s%s", owner(target), repository(target), path), into)
}

func (r *Repositories) askFor(ctx context.Context, scope, target runner.Scope, what, path string, into any) (next int, err error) {
	for _, credential := range r.client.credentials(scope) {
		how := call{scope: target, credential: credential, refusal: refusal{
			notFound:        what,
			forbiddenAdvice: fmt.Sprintf("give the token the right to read the administration, contents and pull requests of %s", target),
		}}
		err = r.client.query(ctx, how, func(ctx context.Context, api *gh.Client) error {
			request, err := api.NewRequest(http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			request.Header.Set("Accept", reviewCounts)
			response, err := api.Do(ctx, request, into)
			if err == nil {
				next = response.NextPage
			}
			return err
		})
		if err == nil || !isRefusal(err) {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look up %s: %w", what, err)
	}
	return next, nil
}
