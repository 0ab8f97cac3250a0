package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github-runner/lab"
	"github-runner/lab/lxd"
)

// labFlags is a flag set with the option --format.
func labFlags(env environment, name string) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet("lab "+name, flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	return flags, flags.String("format", "tabular", "tabular or json")
}

func cloudRestart(ctx context.Context, c cloud, args []string) error {
	flags, _ := labFlags(c.env, "cloud restart")
	down := flags.Duration("down", 0, "how long the daemon is away")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("unexpected argument %q", rest[0])
	}
	if c.lab.Cloud == lab.CloudLXD {
		return c.lab.RestartLXD(ctx, *down)
	}
	return lxd.Dial(c.lab.CloudSocket()).Restart(ctx, *down)
}

// cloudFault speaks to the emulation alone.
func cloudFault(ctx context.Context, c cloud, args []string) error {
	if c.lab.Cloud != lab.CloudEmulated {
		return fmt.Errorf("cannot inject faults into a real LXD: 'lab up --cloud emulated' makes a lab that has them")
	}
	if len(args) == 0 {
		fmt.Fprintf(c.env.Stderr, "Usage: lab cloud fault add KIND [--name PATTERN] [--count N] [--message TEXT] [--for DURATION] [--status N]\n"+
			"       lab cloud fault list\n       lab cloud fault clear [ID|KIND]\n\nKinds:\n  %s\n", strings.Join(lxd.Kinds(), "\n  "))
		return usagef("what to do is missing")
	}
	control := lxd.Dial(c.lab.CloudSocket())
	switch args[0] {
	case "list":
		return listCloudFaults(ctx, c, control, args[1:])
	case "clear":
		ended, err := control.ClearFaults(ctx, strings.Join(args[1:], ""))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.env.Stdout, "%d cleared\n", ended)
		return nil
	case "add":
		args = args[1:]
	}
	return addCloudFault(ctx, c, control, args)
}

func addCloudFault(ctx context.Context, c cloud, control *lxd.Control, args []string) error {
	flags, _ := labFlags(c.env, "cloud fault add")
	var fault lxd.Fault
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
		return usagef("one kind of fault is to be named; known are:\n  %s", strings.Join(lxd.Kinds(), "\n  "))
	}
	fault.Kind = lxd.Kind(rest[0])
	added, err := control.AddFault(ctx, fault)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.env.Stdout, "fault %d: %s\n", added.ID, added.Kind)
	return nil
}

func listCloudFaults(ctx context.Context, c cloud, control *lxd.Control, args []string) error {
	flags, format := labFlags(c.env, "cloud fault list")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	faults, err := control.Faults(ctx)
	if err != nil {
		return err
	}
	return print(c.env, *format, faults, "ID\tKIND\tNAME\tCOUNT\tHITS\tFOR\tMESSAGE", func(w io.Writer) {
		for _, f := range faults {
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%s\t%s\n", f.ID, f.Kind, f.Name, f.Count, f.Hits, f.For.Round(time.Millisecond), f.Message)
		}
	})
}
