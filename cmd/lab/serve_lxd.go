package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/sirupsen/logrus"

	"github-runner/lab/lxd"
	"github-runner/lab/runnerapp"
)

// cmdServeLXD runs the emulated LXD until ctx ends.
func cmdServeLXD(ctx context.Context, env environment, args []string) error {
	flags := flag.NewFlagSet("serve-lxd", flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	timing := lxd.Quick()
	dir := flags.String("dir", env.Dir, "the lab's directory")
	flags.DurationVar(&timing.Create, "create", timing.Create, "how long an image is unpacked")
	flags.DurationVar(&timing.Start, "start", timing.Start, "how long an instance starts")
	flags.DurationVar(&timing.Boot, "boot", timing.Boot, "how long a guest boots until its runner application starts")
	if err := flags.Parse(args); err != nil {
		return usagef("%v", err)
	}
	log := logrus.New()
	log.SetOutput(env.Stderr)
	server, err := lxd.New(lxd.Options{
		Dir:    *dir,
		Timing: timing,
		Log:    logrus.NewEntry(log),
		Listen: func(jit string) (lxd.Listener, error) { return runnerapp.Open(jit) },
	})
	if err != nil {
		return fmt.Errorf("cannot start the emulated LXD: %w", err)
	}
	return server.Serve(ctx, func() { fmt.Fprintln(env.Stdout, "ready") })
}
