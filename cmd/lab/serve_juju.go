package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"syscall"

	"github.com/sirupsen/logrus"

	"github-runner/lab"
	"github-runner/lab/juju"
)

// cmdServeJuju is the lab's Juju stand-in, until it is told to end.
func cmdServeJuju(ctx context.Context, env environment, args []string) error {
	flags := flag.NewFlagSet("serve-juju", flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	dir := flags.String("dir", env.Dir, "the lab's `directory`")
	if err := flags.Parse(args); err != nil {
		return usagef("%v", err)
	}
	facts, err := lab.Open(*dir)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot make the hook tools: %w", err)
	}
	// Hooks have Juju's, whatever the operator's shell has.
	syscall.Umask(0o022)
	logger := logrus.New()
	logger.SetOutput(env.Stderr)
	server, err := juju.NewServer(juju.Options{
		Dir:       facts.Dir,
		GitHubURL: facts.GitHubURL,
		Variables: facts.HookVariables(),
		Program:   program,
		Log:       logrus.NewEntry(logger),
	})
	if err != nil {
		return err
	}
	return server.Run(ctx, func() { fmt.Fprintln(env.Stdout, "ready") })
}
