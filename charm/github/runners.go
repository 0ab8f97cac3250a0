package github

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

const (
	perPage = 100
	// maxPages is as many runners as GitHub lets one group have.
	maxPages = 100
)

// Runners lists the registrations of a scope whose names start with prefix. It
// costs one call for every hundred runners that the scope has, all told, and
// nothing of the rate limit where nothing changed since the last time.
//
// A list that can't be read to its end is an error: who is missing in half a
// list would pass for gone.
func (c *Client) Runners(ctx context.Context, scope runner.Scope, prefix string) ([]runner.Registration, error) {
	defer c.answers.save()
	var found []runner.Registration
	var credential Credential
	seen := map[int64]bool{}
	for page := 1; page > 0; {
		if page > maxPages {
			return nil, fmt.Errorf("cannot list the runners of %s: it has more than %d", scope, maxPages*perPage)
		}
		list, proven, err := c.page(ctx, scope, credential, page)
		if err != nil {
			return nil, fmt.Errorf("cannot list the runners of %s: %w", scope, err)
		}
		for _, r := range list.runners {
			if !seen[r.GetID()] && strings.HasPrefix(r.GetName(), prefix) {
				seen[r.GetID()] = true
				found = append(found, registration(scope, r))
			}
		}
		page, credential = list.next, proven
	}
	return found, nil
}

// listed is one page of a list of runners.
type listed struct {
	runners []*gh.Runner
	next    int // 0 after the last one
}

// page asks for one page of a scope's runners and returns the credential
// that GitHub gave it for: the given one, or the first that works.
func (c *Client) page(ctx context.Context, scope runner.Scope, given Credential, number int) (listed, Credential, error) {
	credentials := []Credential{given}
	if given.IsZero() {
		credentials = c.credentials(scope)
	}
	var err error
	for _, credential := range credentials {
		var list listed
		list, err = c.pageWith(ctx, scope, credential, number)
		if err == nil {
			c.prove(scope, credential)
			return list, credential, nil
		}
		if !isRefusal(err) {
			break
		}
		c.doubt(scope)
	}
	return listed{}, Credential{}, err
}

func (c *Client) pageWith(ctx context.Context, scope runner.Scope, credential Credential, number int) (listed, error) {
	var list listed
	options := &gh.ListRunnersOptions{ListOptions: gh.ListOptions{PerPage: perPage, Page: number}}
	err := c.do(ctx, call{scope: scope, credential: credential}, func(ctx context.Context, api *gh.ActionsService) error {
		var answer *gh.Runners
		var response *gh.Response
		var err error
		if scope.IsOrganization() {
			answer, response, err = api.ListOrganizationRunners(ctx, owner(scope), options)
		} else {
			answer, response, err = api.ListRunners(ctx, owner(scope), repository(scope), options)
		}
		if err != nil {
			return err
		}
		if answer == nil || answer.Runners == nil {
			return badAnswer("it lists no runners")
		}
		for _, r := range answer.Runners {
			if err := checkRunner(r); err != nil {
				return err
			}
		}
		list = listed{runners: answer.Runners, next: response.NextPage}
		if list.next != 0 && list.next <= number {
			return badAnswer("after page %d comes page %d", number, list.next)
		}
		return nil
	})
	return list, err
}

// Runner returns one registration. runner.ErrNotFound is certain: GitHub shows
// the scope's runners to the token that was used, and this one is not among
// them.
func (c *Client) Runner(ctx context.Context, scope runner.Scope, id int64) (runner.Registration, error) {
	var found runner.Registration
	credential, err := c.access(ctx, scope)
	if err != nil {
		return found, fmt.Errorf("cannot ask for runner %d of %s: %w", id, scope, hidden(err))
	}
	err = c.do(ctx, call{scope: scope, credential: credential, refusal: refusal{notFound: "the runner is not registered"}},
		func(ctx context.Context, api *gh.ActionsService) error {
			var answer *gh.Runner
			var err error
			if scope.IsOrganization() {
				answer, _, err = api.GetOrganizationRunner(ctx, owner(scope), id)
			} else {
				answer, _, err = api.GetRunner(ctx, owner(scope), repository(scope), id)
			}
			if err != nil {
				return err
			}
			if err := checkRunner(answer); err != nil {
				return err
			}
			if answer.GetID() != id {
				return badAnswer("asked for runner %d it tells of runner %d", id, answer.GetID())
			}
			found = registration(scope, answer)
			return nil
		})
	if err != nil {
		return found, fmt.Errorf("cannot ask for runner %d of %s: %w", id, scope, err)
	}
	return found, nil
}

// Register makes the registration of one single-use runner. After
// runner.ErrUnreachable it may exist all the same.
func (c *Client) Register(ctx context.Context, scope runner.Scope, request runner.Request) (runner.Registration, secret.Text, error) {
	none := runner.Registration{}
	group, err := c.group(ctx, scope, request.Group)
	if err != nil {
		return none, secret.Text{}, fmt.Errorf("cannot register runner %s: %w", request.Name, err)
	}
	if err := c.pace.take(ctx); err != nil {
		return none, secret.Text{}, fmt.Errorf("cannot register runner %s: waiting for GitHub's limit of registrations in a minute: %w", request.Name, err)
	}
	workFolder := "_work"
	body := &gh.GenerateJITConfigRequest{
		Name:          request.Name,
		RunnerGroupID: group,
		WorkFolder:    &workFolder,
		Labels:        request.Labels,
	}
	var made runner.Registration
	var jit secret.Text
	how := call{scope: scope, credential: c.options.Credential, refusal: refusal{
		exists:  "the name is taken",
		invalid: "check the option labels",
	}}
	if scope.IsOrganization() {
		how.refusal.notFoundAdvice = fmt.Sprintf("check the options path and group: runners can't register with %s in the group %s", scope, groupName(request.Group))
		how.refusal.forbiddenAdvice = "check the option group, or " + how.credential.weak(fmt.Sprintf("the group %s of %s", groupName(request.Group), scope))
	}
	err = c.do(ctx, how, func(ctx context.Context, api *gh.ActionsService) error {
		var answer *gh.JITRunnerConfig
		var err error
		if scope.IsOrganization() {
			answer, _, err = api.GenerateOrgJITConfig(ctx, owner(scope), body)
		} else {
			answer, _, err = api.GenerateRepoJITConfig(ctx, owner(scope), repository(scope), body)
		}
		if err != nil {
			return err
		}
		if err := checkRunner(answer.Runner); err != nil {
			return err
		}
		if answer.GetEncodedJITConfig() == "" {
			return badAnswer("it gives no JIT configuration")
		}
		made = registration(scope, answer.Runner)
		jit = secret.New(answer.GetEncodedJITConfig())
		return nil
	})
	if errors.Is(err, runner.ErrNotFound) || errors.Is(err, runner.ErrForbidden) {
		c.forgetGroup(scope, request.Group)
	}
	if err != nil {
		return none, secret.Text{}, fmt.Errorf("cannot register runner %s: %w", request.Name, err)
	}
	return made, jit, nil
}

// Deregister removes a registration. It returns nil when it is gone for
// certain, and runner.ErrBusy while GitHub says that it runs a job.
func (c *Client) Deregister(ctx context.Context, scope runner.Scope, id int64) error {
	credential, err := c.access(ctx, scope)
	if err != nil {
		return fmt.Errorf("cannot deregister runner %d of %s: %w", id, scope, hidden(err))
	}
	err = c.do(ctx, call{scope: scope, credential: credential, refusal: refusal{notFound: "the runner is not registered", busy: true}},
		func(ctx context.Context, api *gh.ActionsService) error {
			var err error
			if scope.IsOrganization() {
				_, err = api.RemoveOrganizationRunner(ctx, owner(scope), id)
			} else {
				_, err = api.RemoveRunner(ctx, owner(scope), repository(scope), id)
			}
			return err
		})
	if errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot deregister runner %d of %s: %w", id, scope, err)
	}
	return nil
}

func registration(scope runner.Scope, r *gh.Runner) runner.Registration {
	labels := make([]string, 0, len(r.Labels))
	for _, label := range r.Labels {
		labels = append(labels, label.GetName())
	}
	return runner.Registration{
		ID:     r.GetID(),
		Name:   r.GetName(),
		Online: r.GetStatus() == "online",
		Busy:   r.GetBusy(),
		Labels: labels,
		Scope:  scope,
	}
}

// checkRunner refuses what no runner of GitHub's looks like.
func checkRunner(r *gh.Runner) error {
	if r.GetID() <= 0 || r.GetName() == "" || r.GetStatus() == "" {
		return badAnswer("it tells of a runner without id, name or status")
	}
	return nil
}
