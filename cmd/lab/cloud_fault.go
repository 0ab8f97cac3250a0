package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github-runner/lab"
	"github-runner/lab/faults"
)

// labFlags is a flag set with the option --format.
func labFlags(env environment, name string) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet("lab "+name, flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	return flags, flags.String("format", "tabular", "tabular or json")
}

func cloudRestart(ctx context.Context, t target, args []string) error {
	flags, _ := labFlags(t.env, "cloud restart")
	down := flags.Duration("down", 0, "how long the API is away")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	if t.control != nil {
		return t.control.Restart(ctx, *down)
	}
	return t.lab.RestartLXD(ctx, *down)
}

// cloudFault speaks to an emulation alone.
func cloudFault(ctx context.Context, t target, args []string) error {
	if t.control == nil {
		return fmt.Errorf("cannot inject faults into a real cloud: 'lab up --cloud %s' and '--cloud %s' make labs that have them", lab.CloudEmulated, lab.CloudOpenStackEmulated)
	}
	if len(args) == 0 {
		fmt.Fprintf(t.env.Stderr, "Usage: lab cloud fault add KIND [--name PATTERN] [--count N] [--message TEXT] [--for DURATION] [--status N]\n"+
			"       lab cloud fault list\n       lab cloud fault clear [ID|KIND]\n\nKinds:\n  %s\n", strings.Join(t.kinds, "\n  "))
		return usagef("what to do is missing")
	}
	switch args[0] {
	case "list":
		return listCloudFaults(ctx, t, args[1:])
	case "clear":
		ended, err := t.control.ClearFaults(ctx, strings.Join(args[1:], ""))
		if err != nil {
			return err
		}
		fmt.Fprintf(t.env.Stdout, "%d cleared\n", ended)
		return nil
	case "add":
		args = args[1:]
	}
	return addCloudFault(ctx, t, args)
}

func addCloudFault(ctx context.Context, t target, args []string) error {
	flags, _ := labFlags(t.env, "cloud fault add")
	var fault faults.Fault
	flags.StringVar(&fault.Name, "name", "", "shell pattern for what it concerns, mostly an instance's name; default: everything")
	flags.IntVar(&fault.Count, "count", 0, "how many times it happens; 0: until it is cleared")
	flags.StringVar(&fault.Message, "message", "", "what is said")
	flags.DurationVar(&fault.For, "for", 0, "how long it takes, where it takes a time")
	flags.IntVar(&fault.Status, "status", 0, "HTTP status of failing calls")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("one kind of fault is to be named; known are:\n  %s", strings.Join(t.kinds, "\n  "))
	}
	fault.Kind = faults.Kind(rest[0])
	added, err := t.control.AddFault(ctx, fault)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.env.Stdout, "fault %d: %s\n", added.ID, added.Kind)
	return nil
}

func listCloudFaults(ctx context.Context, t target, args []string) error {
	flags, format := labFlags(t.env, "cloud fault list")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	all, err := t.control.Faults(ctx)
	if err != nil {
		return err
	}
	return print(t.env, *format, all, "ID\tKIND\tNAME\tCOUNT\tHITS\tFOR\tMESSAGE", func(w io.Writer) {
		for _, f := range all {
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%s\t%s\n", f.ID, f.Kind, f.Name, f.Count, f.Hits, f.For.Round(time.Millisecond), f.Message)
		}
	})
}
