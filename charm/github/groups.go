package github

import (
	"context"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
)

// repositoryGroup is the id that GitHub wants for runners of a repository,
// which has no groups.
const repositoryGroup = 1

// defaultGroup is the group that every organisation has.
const defaultGroup = "default"

type groupKey struct {
	scope runner.Scope
	name  string
}

// group returns the id of a runner group by its name, in upper or lower case.
// It asks GitHub once in a Client's life, and again after a refusal.
func (c *Client) group(ctx context.Context, scope runner.Scope, name string) (int64, error) {
	if !scope.IsOrganization() {
		return repositoryGroup, nil
	}
	select {
	case c.asking <- struct{}{}:
	case <-ctx.Done():
		return 0, fmt.Errorf("cannot look up the runner group: %w", context.Cause(ctx))
	}
	defer func() { <-c.asking }()
	key := groupKey{scope, groupName(name)}
	c.mu.Lock()
	id, ok := c.groups[key]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	defer c.answers.save()
	id, err := c.findGroup(ctx, scope, key.name)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups[key] = id
	return id, nil
}

func (c *Client) findGroup(ctx context.Context, scope runner.Scope, name string) (int64, error) {
	var names []string
	for page := 1; page > 0; {
		if page > maxPages {
			return 0, fmt.Errorf("cannot list the runner groups of %s: it has more than %d", scope, maxPages*perPage)
		}
		list, next, err := c.groupPage(ctx, scope, page)
		if err != nil {
			return 0, fmt.Errorf("cannot list the runner groups of %s: %w", scope, err)
		}
		for _, group := range list {
			if strings.EqualFold(group.GetName(), name) {
				return group.GetID(), nil
			}
			names = append(names, group.GetName())
		}
		page = next
	}
	return 0, runner.Trouble{
		Advice: fmt.Sprintf("set the option group to a runner group of %s", scope),
		Err:    fmt.Errorf("%w: group %q among %s", runner.ErrNotFound, name, shortList(names)),
	}
}

func (c *Client) groupPage(ctx context.Context, scope runner.Scope, page int) ([]*gh.RunnerGroup, int, error) {
	var groups []*gh.RunnerGroup
	var next int
	options := &gh.ListOrgRunnerGroupOptions{ListOptions: gh.ListOptions{PerPage: perPage, Page: page}}
	err := c.do(ctx, call{scope: scope, credential: c.options.Credential}, func(ctx context.Context, api *gh.ActionsService) error {
		answer, response, err := api.ListOrganizationRunnerGroups(ctx, owner(scope), options)
		if err != nil {
			return err
		}
		if answer == nil || answer.RunnerGroups == nil {
			return badAnswer("it lists no runner groups")
		}
		for _, group := range answer.RunnerGroups {
			if group.GetID() <= 0 || group.GetName() == "" {
				return badAnswer("it tells of a runner group without id or name")
			}
		}
		groups, next = answer.RunnerGroups, response.NextPage
		if next != 0 && next <= page {
			return badAnswer("after page %d comes page %d", page, next)
		}
		return nil
	})
	return groups, next, err
}

func (c *Client) forgetGroup(scope runner.Scope, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.groups, groupKey{scope, groupName(name)})
}

func groupName(name string) string {
	if name == "" {
		return defaultGroup
	}
	return strings.ToLower(name)
}

// shortList joins names for a person, and leaves out the end of a long list.
func shortList(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Ready implements runner.GitHub: it looks up the group, which says whether the
// token may manage runners there, too. Of a repository nothing is to be known
// beyond its list of runners.
func (c *Client) Ready(ctx context.Context, scope runner.Scope, group string) error {
	if !scope.IsOrganization() {
		return nil
	}
	_, err := c.group(ctx, scope, group)
	return err
}
