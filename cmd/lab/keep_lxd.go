package main

import (
	"context"

	"github-runner/lab"
)

// cmdKeepLXD runs a real LXD daemon until ctx ends. Its directory is $LXD_DIR.
func cmdKeepLXD(ctx context.Context, env environment, args []string) error {
	if len(args) > 0 {
		return usagef("keep-lxd takes no arguments: %q", args)
	}
	return lab.KeepLXD(ctx, env.Stderr)
}
