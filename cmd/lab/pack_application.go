package main

import (
	"context"
	"fmt"
	"runtime"

	"github-runner/lab/runnerapp"
)

// cmdPackApplication builds the stand-in for GitHub's runner application, which
// the lab's GitHub offers for download. It runs in the source tree.
func cmdPackApplication(ctx context.Context, env environment, args []string) error {
	flags := newFlags("pack-application", env)
	output := flags.String("output", "bin", "folder to put it into; beside the lab program it is found")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	architecture := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	path, _, err := runnerapp.Pack(ctx, *output, architecture)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, path)
	return err
}
