package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github-runner/charm/policy"
	"github-runner/charm/runner"
)

// Reviews implements policy.GitHub. Rulesets are the modern form of branch
// protection; a branch may have both.
func (r *Repositories) Reviews(ctx context.Context, repo, branch string) ([]policy.Reviews, error) {
	classic, err := r.protection(ctx, repo, branch)
	if err != nil {
		return nil, err
	}
	modern, err := r.rulesets(ctx, repo, branch)
	if err != nil {
		return nil, err
	}
	return append(classic, modern...), nil
}

// protection is the classic branch protection. 404 is GitHub's answer for a branch
// without one, and for a token that may not see it.
func (r *Repositories) protection(ctx context.Context, repo, branch string) ([]policy.Reviews, error) {
	type named struct {
		Login string `json:"login"`
		Slug  string `json:"slug"`
	}
	var found struct {
		Reviews *struct {
			Count  int `json:"required_approving_review_count"`
			Bypass struct {
				Users []named `json:"users"`
				Teams []named `json:"teams"`
				Apps  []named `json:"apps"`
			} `json:"bypass_pull_request_allowances"`
		} `json:"required_pull_request_reviews"`
	}
	what := fmt.Sprintf("the protection of the branch %s of %s", branch, repo)
	err := r.get(ctx, repo, what, "/branches/"+url.PathEscape(branch)+"/protection", &found)
	if errors.Is(err, runner.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	reviews := policy.Reviews{Source: "the branch protection"}
	if found.Reviews == nil {
		return []policy.Reviews{reviews}, nil
	}
	reviews.Approvals = found.Reviews.Count
	for _, kind := range []struct {
		name string
		all  []named
	}{
		{"user", found.Reviews.Bypass.Users},
		{"team", found.Reviews.Bypass.Teams},
		{"app", found.Reviews.Bypass.Apps},
	} {
		for _, one := range kind.all {
			reviews.Bypass = append(reviews.Bypass, kind.name+" "+one.Login+one.Slug)
		}
	}
	return []policy.Reviews{reviews}, nil
}

// rule is one rule that is in force for a branch, of whatever kind.
type rule struct {
	Type       string          `json:"type"`
	SourceType string          `json:"ruleset_source_type"`
	Source     string          `json:"ruleset_source"`
	RulesetID  int64           `json:"ruleset_id"`
	Parameters json.RawMessage `json:"parameters"`
}

// rulesets are the rules that ask for pull requests. A server that knows no
// rulesets answers 404.
func (r *Repositories) rulesets(ctx context.Context, repo, branch string) ([]policy.Reviews, error) {
	what := fmt.Sprintf("the rules of the branch %s of %s", branch, repo)
	rules, err := list[rule](ctx, r, repo, what, "/rules/branches/"+url.PathEscape(branch), url.Values{})
	if errors.Is(err, runner.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var result []policy.Reviews
	for _, one := range rules {
		if one.Type != "pull_request" {
			continue
		}
		var parameters struct {
			Count int `json:"required_approving_review_count"`
		}
		if err := json.Unmarshal(one.Parameters, &parameters); err != nil || one.RulesetID <= 0 {
			return nil, fmt.Errorf("cannot look up %s: %w", what, badAnswer("it tells of a rule without ruleset or parameters"))
		}
		reviews, err := r.ruleset(ctx, repo, one)
		if err != nil {
			return nil, err
		}
		reviews.Approvals = parameters.Count
		result = append(result, reviews)
	}
	return result, nil
}

// ruleset says who may bypass a rule. GitHub leaves that out for a token that may
// not change the ruleset.
func (r *Repositories) ruleset(ctx context.Context, repo string, of rule) (policy.Reviews, error) {
	var found struct {
		Name        string `json:"name"`
		Enforcement string `json:"enforcement"`
		Bypass      *[]struct {
			ID   int64  `json:"actor_id"`
			Type string `json:"actor_type"`
		} `json:"bypass_actors"`
	}
	what := fmt.Sprintf("ruleset %d of %s", of.RulesetID, of.Source)
	var err error
	if of.SourceType == "Organization" {
		err = r.organizationRuleset(ctx, repo, of, what, &found)
	} else {
		err = r.get(ctx, repo, what, fmt.Sprintf("/rulesets/%d", of.RulesetID), &found)
	}
	unseen := errors.Is(err, runner.ErrNotFound) || errors.Is(err, runner.ErrForbidden)
	if err != nil && !unseen {
		return policy.Reviews{}, err
	}
	reviews := policy.Reviews{Source: what, Unseen: unseen || found.Bypass == nil || found.Enforcement != "active"}
	if found.Name != "" {
		reviews.Source = fmt.Sprintf("the ruleset %q of %s", found.Name, of.Source)
	}
	if found.Bypass == nil {
		return reviews, nil
	}
	for _, actor := range *found.Bypass {
		name := actor.Type
		if actor.ID > 0 {
			name = fmt.Sprintf("%s %d", actor.Type, actor.ID)
		}
		reviews.Bypass = append(reviews.Bypass, name)
	}
	return reviews, nil
}

// organizationRuleset asks for a ruleset of the organisation that a repository
// belongs to.
func (r *Repositories) organizationRuleset(ctx context.Context, repo string, of rule, what string, into any) error {
	scope, err := r.scopeOf(repo)
	if err != nil {
		return err
	}
	account, _, _ := strings.Cut(repo, "/")
	if !strings.EqualFold(account, of.Source) {
		return fmt.Errorf("cannot look up %s: %w", what, badAnswer("%s is not the organisation of %s", of.Source, repo))
	}
	target := runner.Scope{API: scope.API, Path: account}
	_, err = r.askFor(ctx, scope, target, what, fmt.Sprintf("orgs/%s/rulesets/%d", url.PathEscape(account), of.RulesetID), into)
	return err
}
