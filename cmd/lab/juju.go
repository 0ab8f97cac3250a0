package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github-runner/lab/juju"
)

// cmdJuju runs one of Juju's commands on the lab's model.
func cmdJuju(ctx context.Context, env environment, args []string) error {
	if len(args) > 0 && args[0] == "--help" {
		juju.Help(env.Stdout) // also where no lab is
		return nil
	}
	workDir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("cannot tell the current directory: %w", err)
	}
	code, err := juju.Run(ctx, env.Dir, args, workDir, isTerminal(env.Stdout), env.Stdout, env.Stderr)
	switch {
	case ctx.Err() != nil:
		return exitStatus(130)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no lab is running in %s; start one with 'lab up'", env.Dir)
	case err != nil:
		return err
	case code != 0:
		return exitStatus(code)
	}
	return nil
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
