// Runner is the lab's stand-in for GitHub's runner application. One program is
// both of its processes: called Runner.Listener it waits for the one job and
// reports its end, called Runner.Worker it does the job.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github-runner/lab/runnerapp"
)

// Exit codes of the listener, as GitHub's has them.
const (
	exitDone       = 0
	exitTerminated = 1
	exitRetry      = 2
	exitConflict   = 5
)

// Exit codes of the worker: how the job ended.
const (
	exitSucceeded = 100
	exitFailed    = 102
	exitCancelled = 103
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args))
}

func run(ctx context.Context, argv []string) int {
	for _, arg := range argv[1:] {
		if arg == "--version" {
			fmt.Println(runnerapp.Version)
			return 0
		}
	}
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot find the application:", err)
		return exitTerminated
	}
	// The names are links to one file: the folder is what both share.
	root := filepath.Dir(filepath.Dir(program))
	if filepath.Base(argv[0]) == "Runner.Worker" {
		return work(ctx, root)
	}
	return listen(ctx, root, argv[1:])
}
