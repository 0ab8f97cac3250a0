package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github-runner/lab"
)

// cmdDown ends a lab. There being none is no failure: nothing is left to do.
func cmdDown(ctx context.Context, env environment, args []string) error {
	flags := newFlags("down", env)
	dir := flags.String("dir", env.Dir, "the lab's directory")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	err := lab.Down(ctx, *dir, env.Stdout)
	if errors.Is(err, lab.ErrNone) {
		fmt.Fprintf(env.Stdout, "no lab in %s: nothing to remove\n", *dir)
		return nil
	}
	return err
}

// cmdLeftovers compares the machine with what it was when the lab came up; its
// exit status is 1 when something is left.
func cmdLeftovers(ctx context.Context, env environment, args []string) error {
	flags := newFlags("leftovers", env)
	dir := flags.String("dir", env.Dir, "the lab's directory")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	l, err := lab.Open(*dir)
	if err != nil {
		return err
	}
	left, err := l.Leftovers(ctx)
	if err != nil {
		return err
	}
	for _, kind := range lab.Kinds() {
		for _, name := range left[kind] {
			fmt.Fprintf(env.Stdout, "left behind, %s: %s\n", kind, name)
		}
	}
	if !left.Empty() {
		return exitStatus(1)
	}
	fmt.Fprintln(env.Stdout, "kept on purpose: the logs in", filepath.Join(l.Root, "var/log"))
	fmt.Fprintln(env.Stdout, left)
	return nil
}
