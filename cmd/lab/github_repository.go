package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github-runner/lab/github"
)

// words splits a list with commas.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func githubProtect(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags := newFlags("github protect", env)
	var protection github.Protection
	flags.IntVar(&protection.Approvals, "approvals", -1, "how many reviews a pull request needs; default: none are asked for")
	flags.BoolVar(&protection.Off, "off", false, "take the protection away")
	bypass := flags.String("bypass", "", "who needs none: user:NAME, team:NAME, app:NAME, with commas")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usagef("it is: lab github protect OWNER/REPO BRANCH")
	}
	protection.Repository, protection.Branch, protection.Bypass = rest[0], rest[1], words(*bypass)
	return api.Protect(ctx, protection)
}

func githubRuleset(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags := newFlags("github ruleset", env)
	var ruleset github.Ruleset
	flags.IntVar(&ruleset.Approvals, "approvals", 1, "how many reviews a pull request needs")
	flags.BoolVar(&ruleset.Hidden, "hidden", false, "do not show who may bypass it")
	flags.BoolVar(&ruleset.Off, "off", false, "remove the rulesets of this branch")
	bypass := flags.String("bypass", "", "who may bypass it, in GitHub's words such as OrganizationAdmin, with commas")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usagef("it is: lab github ruleset OWNER[/REPO] BRANCH")
	}
	ruleset.Path, ruleset.Branch, ruleset.Bypass = rest[0], rest[1], words(*bypass)
	return api.SetRuleset(ctx, ruleset)
}

func githubCollaborator(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags := newFlags("github collaborator", env)
	member := flags.Bool("member", false, "it belongs to the organisation")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 3 {
		return usagef("it is: lab github collaborator OWNER/REPO LOGIN ROLE")
	}
	return api.SetCollaborator(ctx, github.Collaborator{Repository: rest[0], Login: rest[1], Role: rest[2], Member: *member})
}

func githubPull(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags := newFlags("github pull", env)
	base := flags.String("base-ref", "", "target branch; default main")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 3 {
		return usagef("it is: lab github pull OWNER/REPO HEAD-OWNER/REPO HEAD-BRANCH")
	}
	made, err := api.OpenPull(ctx, github.Pull{Repository: rest[0], HeadRepository: rest[1], HeadRef: rest[2], BaseRef: *base})
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Stdout, made.Number)
	return nil
}

func githubComment(ctx context.Context, _ environment, api *github.Client, args []string) error {
	if len(args) != 4 {
		return usagef("it is: lab github comment OWNER/REPO NUMBER LOGIN TEXT")
	}
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return usagef("%q is no pull request's number", args[1])
	}
	return api.AddComment(ctx, github.Comment{Repository: args[0], Number: number, Author: args[2], Body: args[3]})
}
