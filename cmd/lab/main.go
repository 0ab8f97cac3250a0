// Lab makes the surroundings of the charm on one machine: GitHub's API, a Juju
// model and a cloud, for trying the charm, for its demo and for its tests.
//
// The same program is every hook tool of the Juju model: started under a hook
// tool's name it is that tool.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github-runner/lab/juju"
)

// environment is what every command gets besides its arguments.
type environment struct {
	// Dir is the lab's directory, absolute.
	Dir    string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// command is one row of the table that is all there is to the command line.
type command struct {
	name    string
	summary string
	// hidden commands are the lab's own background processes.
	hidden bool
	run    func(ctx context.Context, env environment, args []string) error
}

func commands() []command {
	return []command{
		{name: "up", summary: "Start a lab: GitHub's API, a Juju model and a cloud", run: cmdUp},
		{name: "down", summary: "End the lab and remove everything that it made", run: cmdDown},
		{name: "juju", summary: "Deploy, configure, run, remove: Juju's own commands", run: cmdJuju},
		{name: "github", summary: "Queue jobs, see what GitHub knows, let it fail", run: cmdGitHub},
		{name: "cloud", summary: "See the cloud's instances, meddle with them, let it fail", run: cmdCloud},
		{name: "leftovers", summary: "List what is on this machine and was not before the lab's charms", run: cmdLeftovers},
		{name: "bench", summary: "Measure what the charm costs, beside what the machine costs anyway", run: cmdBench},
		{name: "serve-github", hidden: true, run: cmdServeGitHub},
		{name: "serve-juju", hidden: true, run: cmdServeJuju},
		{name: "serve-lxd", hidden: true, run: cmdServeLXD},
		{name: "serve-openstack", hidden: true, run: cmdServeOpenStack},
		{name: "keep-allinone", hidden: true, run: cmdKeepAllinone},
		{name: "serve-allinone", hidden: true, run: cmdServeAllinone},
		{name: "serve-fake-guests", hidden: true, run: cmdServeFakeGuests},
		{name: "keep-lxd", hidden: true, run: cmdKeepLXD},
		{name: "ssh-guest", hidden: true, run: cmdSSHGuest},
		{name: "pack-application", hidden: true, run: cmdPackApplication},
	}
}

// exitStatus is the error of a command that has said everything itself: the
// process ends with that status and prints nothing more.
type exitStatus int

func (s exitStatus) Error() string {
	return fmt.Sprintf("exit status %d", int(s))
}

// usageError is a mistake in the command line.
type usageError struct {
	message string
}

func (e usageError) Error() string {
	return e.message
}

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

func main() {
	os.Exit(realMain())
}

func realMain() int {
	if name := filepath.Base(os.Args[0]); juju.IsTool(name) {
		return juju.ToolMain(name, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	env := environment{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err := dispatch(ctx, env, os.Args[1:])
	var status exitStatus
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 2
	default:
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 1
	}
}

// usualDir is the lab's directory where --dir does not name one.
func usualDir() string {
	return cmp.Or(os.Getenv("LAB_DIR"), ".lab")
}

// dispatch runs the command that args name. The lab's directory is --dir before
// the command, else $LAB_DIR, else .lab.
func dispatch(ctx context.Context, env environment, args []string) error {
	dir := usualDir()
	if len(args) >= 2 && args[0] == "--dir" {
		dir, args = args[1], args[2:]
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("cannot use lab directory %q: %w", dir, err)
	}
	env.Dir = absolute

	if len(args) == 0 {
		return help(env)
	}
	switch args[0] {
	case "help", "-h", "--help":
		if len(args) == 1 {
			return help(env)
		}
		// "lab help juju deploy" is "lab juju deploy --help".
		args = append(args[1:], "--help")
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, env, args[1:])
		}
	}
	return usagef("unknown command %q; see 'lab help'", args[0])
}

func help(env environment) error {
	fmt.Fprint(env.Stdout, "Usage: lab [--dir DIR] COMMAND …\n\n"+
		"DIR holds all of one lab; the default is $LAB_DIR, else .lab.\n\n")
	for _, c := range commands() {
		if c.hidden {
			continue
		}
		fmt.Fprintf(env.Stdout, "  %-10s  %s\n", c.name, c.summary)
	}
	return nil
}
