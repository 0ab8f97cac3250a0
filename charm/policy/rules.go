package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github-runner/charm/runner"
)

// command is what a comment must say, before the commit, to let a fork's pull
// request run.
const command = "/canonical/self-hosted-runners/run-workflows"

// request is what a runner wants to know. A push, a schedule and the like have a
// Repository alone.
type request struct {
	Repository string `json:"repository_name"`
	Source     string `json:"source_repository_name"`
	Target     string `json:"target_branch_name"`
	Branch     string `json:"source_branch_name"`
	Commit     string `json:"commit_sha"`
}

// fromFork reports whether a pull request comes from another repository. GitHub
// does not tell upper from lower case in names of repositories.
func (r request) fromFork() bool {
	return !strings.EqualFold(r.Source, r.Repository)
}

// failure is why a rule is not kept, and what to change, for a person.
type failure struct {
	reason string
}

func (f failure) Error() string {
	return f.reason
}

func fail(format string, args ...any) error {
	return failure{fmt.Sprintf(format, args...)}
}

// judge looks at the rules of an event. Nil is a pass, a failure says which rule
// is not kept; any other error is that it can't be known.
func judge(ctx context.Context, github GitHub, document Document, event string, asked request) error {
	if !github.Serves(asked.Repository) {
		return fail("This runner does not serve the repository %s.", asked.Repository)
	}
	check := map[string]func(context.Context, GitHub, request) error{
		ruleProtection:    checkProtection,
		ruleCollaborators: checkCollaborators,
		ruleNoFork:        checkNoFork,
		ruleExecuteJob:    checkExecuteJob,
	}
	for _, rule := range rulesOf(event) {
		if !document.on(event, rule) {
			continue
		}
		err := check[rule](ctx, github, asked)
		if errors.Is(err, runner.ErrNotFound) {
			return fail("The repository is not set up as it must be (%s): %v.", rule, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", rule, err)
		}
	}
	return nil
}

// checkProtection wants a protected target branch. Where strangers' work gets in,
// or into the default branch, somebody must have reviewed it, without exception.
func checkProtection(ctx context.Context, github GitHub, asked request) error {
	branch, err := github.Branch(ctx, asked.Repository, asked.Target)
	if err != nil {
		return err
	}
	if branch.Protected && !branch.Default && !asked.fromFork() {
		return nil
	}
	all, err := github.Reviews(ctx, asked.Repository, asked.Target)
	if err != nil {
		return err
	}
	where := fmt.Sprintf("the branch %s of %s", asked.Target, asked.Repository)
	if len(all) == 0 && !branch.Protected {
		return fail("Protect %s: it has neither a branch protection nor a ruleset that asks for reviews of pull requests.", where)
	}
	var wrong, unseen []string
	for _, one := range all {
		switch {
		case one.Approvals < 1:
			wrong = append(wrong, one.Source+" asks for no approval")
		case one.Unseen:
			unseen = append(unseen, one.Source)
		case len(one.Bypass) > 0:
			wrong = append(wrong, fmt.Sprintf("%s can be bypassed by %s", one.Source, shortList(one.Bypass)))
		default:
			return nil
		}
	}
	if len(unseen) > 0 {
		return fmt.Errorf("who may bypass %s of %s can't be seen: the token needs write access to it", shortList(unseen), where)
	}
	if len(wrong) == 0 {
		wrong = []string{"reviews are not required"}
	}
	return fail("Require reviews of all pull requests to %s, and let nobody bypass them: %s.", where, strings.Join(wrong, "; "))
}

// checkCollaborators wants outsiders to do no more than read.
func checkCollaborators(ctx context.Context, github GitHub, asked request) error {
	all, err := github.OutsideCollaborators(ctx, asked.Repository)
	if err != nil {
		return err
	}
	var above []string
	for _, one := range all {
		if one.Role != "read" {
			above = append(above, fmt.Sprintf("%s (%s)", one.Login, one.Role))
		}
	}
	if len(above) == 0 {
		return nil
	}
	slices.Sort(above)
	return fail("Outside collaborators of %s may have the role read at most. Reduce it, or remove: %s.", asked.Repository, shortList(above))
}

// checkNoFork takes pull requests from those who may push to the repository.
func checkNoFork(ctx context.Context, github GitHub, asked request) error {
	trusted, err := isTrusted(ctx, github, asked)
	if err != nil || trusted {
		return err
	}
	return fail("Pull requests from the fork %s run no jobs here: its owner has no write access to %s. Push the branch to the repository itself.", asked.Source, asked.Repository)
}

// checkExecuteJob takes a fork's pull request where somebody who may push has said
// so, for this commit.
func checkExecuteJob(ctx context.Context, github GitHub, asked request) error {
	trusted, err := isTrusted(ctx, github, asked)
	if err != nil || trusted {
		return err
	}
	numbers, err := github.PullRequests(ctx, asked.Repository, asked.Source, asked.Branch)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return fail("There is no open pull request of %s from the branch %s of %s.", asked.Repository, asked.Branch, asked.Source)
	}
	advice := fmt.Sprintf("Somebody with write access to %s must comment on the pull request: %s %s", asked.Repository, command, asked.Commit)
	var without []string
	for _, number := range numbers {
		comments, err := github.Comments(ctx, asked.Repository, number)
		if err != nil {
			return err
		}
		for _, comment := range comments {
			if !authorises(comment.Body, asked.Commit) || slices.Contains(without, comment.Author) {
				continue
			}
			allowed, err := mayPush(ctx, github, asked.Repository, comment.Author)
			if err != nil || allowed {
				return err
			}
			without = append(without, comment.Author)
		}
	}
	if len(without) > 0 {
		return fail("The comment to run this commit is by %s, without write access. %s", shortList(without), advice)
	}
	return fail("No comment lets this commit of the fork %s run. %s", asked.Source, advice)
}

// isTrusted reports whether a pull request comes from the repository itself, or
// from the fork of somebody who may push to it.
func isTrusted(ctx context.Context, github GitHub, asked request) (bool, error) {
	if !asked.fromFork() {
		return true, nil
	}
	owner, _, _ := strings.Cut(asked.Source, "/")
	return mayPush(ctx, github, asked.Repository, owner)
}

func mayPush(ctx context.Context, github GitHub, repository, login string) (bool, error) {
	permission, err := github.Permission(ctx, repository, login)
	if errors.Is(err, runner.ErrNotFound) {
		return false, nil // an organisation, or an account that is gone
	}
	return permission == "admin" || permission == "write", err
}

// authorises reports whether a comment lets a commit run. A quoted line repeats
// what somebody else said.
func authorises(body, commit string) bool {
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, ">") {
			continue
		}
		for rest := line; ; {
			_, after, found := strings.Cut(rest, command)
			if !found {
				break
			}
			said := strings.TrimLeft(after, " \t")
			if more, ok := strings.CutPrefix(said, commit); ok && said != after && !startsWord(more) {
				return true
			}
			rest = after
		}
	}
	return false
}

// startsWord reports whether what follows a commit belongs to it: that is another
// commit then.
func startsWord(text string) bool {
	next, _ := utf8.DecodeRuneInString(text)
	return text != "" && (unicode.IsLetter(next) || unicode.IsDigit(next))
}

// shortList joins names for a person, and leaves out the end of a long list.
func shortList(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
