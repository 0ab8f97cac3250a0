package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github-runner/lab/github"
)

func githubFault(ctx context.Context, env environment, api *github.Client, args []string) error {
	if len(args) == 0 {
		return usagef("it is: lab github fault add|list|clear")
	}
	switch args[0] {
	case "add":
		return githubFaultAdd(ctx, env, api, args[1:])
	case "list":
		return githubFaultList(ctx, env, api, args[1:])
	case "clear":
		return githubFaultClear(ctx, api, args[1:])
	}
	return usagef("unknown command %q", "github fault "+args[0])
}

func githubFaultAdd(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "fault add")
	var fault github.Fault
	flags.StringVar(&fault.On, "on", "", `calls: list, get, delete, register, downloads, groups, run-jobs, …, or "METHOD /path*"; default all`)
	flags.StringVar(&fault.Token, "token", "", "only calls with this token")
	flags.IntVar(&fault.Skip, "skip", 0, "leave so many calls alone first")
	flags.IntVar(&fault.Count, "count", 0, "hit so many calls, default all")
	flags.DurationVar(&fault.For, "for", 0, "end after this time")
	flags.IntVar(&fault.Status, "status", 0, "status of the answer")
	flags.StringVar(&fault.Message, "message", "", "message of the answer")
	flags.StringVar(&fault.Body, "body", "", "whole body of the answer")
	flags.DurationVar(&fault.Delay, "delay", 0, "how long")
	flags.IntVar(&fault.RetryAfter, "retry-after", 0, "seconds that a secondary limit asks for")
	nth := flags.Int("nth", 0, "the same as --skip N-1 --count 1")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("name one kind of fault: status, body, delay, lost, down, primary, secondary, revoked, kill-before, kill-after, lag, late-delete, linger")
	}
	fault.Kind = rest[0]
	if *nth > 0 {
		fault.Skip, fault.Count = *nth-1, 1
	}
	if strings.HasPrefix(fault.Kind, "kill-") && fault.Count == 0 {
		fault.Count = 1
	}
	made, err := api.AddFault(ctx, fault)
	if err != nil {
		return err
	}
	return printFaults(env, *format, []github.Fault{made})
}

func githubFaultList(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "fault list")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	faults, err := api.Faults(ctx)
	if err != nil {
		return err
	}
	return printFaults(env, *format, faults)
}

func githubFaultClear(ctx context.Context, api *github.Client, args []string) error {
	if len(args) == 0 {
		return api.ClearFaults(ctx, 0)
	}
	for _, arg := range args {
		id, err := strconv.Atoi(arg)
		if err != nil || id <= 0 {
			return usagef("%q is no fault's number", arg)
		}
		if err := api.ClearFaults(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func printFaults(env environment, format string, faults []github.Fault) error {
	return print(env, format, faults, "ID\tKIND\tON\tHITS\tLEFT\tDETAILS", func(w io.Writer) {
		for _, f := range faults {
			left := "all"
			if f.Count > 0 {
				left = strconv.Itoa(f.Count - f.Hits)
			}
			var details []string
			if f.Status > 0 {
				details = append(details, fmt.Sprintf("status %d", f.Status))
			}
			if f.Delay > 0 {
				details = append(details, "delay "+f.Delay.String())
			}
			if f.For > 0 {
				details = append(details, "for "+f.For.String())
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n", f.ID, f.Kind, dash(f.On), f.Hits, left, strings.Join(details, ", "))
		}
	})
}
