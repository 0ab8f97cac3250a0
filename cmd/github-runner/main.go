// Command github-runner is the charm. Juju starts it under the name of a hook
// or an action; everything it needs to know comes by Juju's environment. The
// unit's Pebble starts it in one of its roles.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/sirupsen/logrus"

	"github-runner/charm"
	"github-runner/charm/fleet"
	"github-runner/charm/juju"
	"github-runner/charm/policy"
	"github-runner/charm/services"
	"github-runner/charm/unitdir"
)

// version is set by the build.
var version = "unknown"

// rootVariable names a prefix of the charm's paths below /var and /etc, for tests.
const rootVariable = "GITHUB_RUNNER_ROOT"

const usage = `github-runner is a Juju charm: Juju runs it as its hooks and actions.

Usage:
  juju deploy ./github-runner_amd64.charm --config path=OWNER/REPOSITORY --config token=TOKEN
  github-runner --version
`

// role is something else than a hook or action that the program can be.
type role func(ctx context.Context, args []string) error

// roles are what the unit's Pebble starts, by the first argument.
func roles() map[string]role {
	return map[string]role{
		"agent":  keepRunners,
		"health": health,
		"policy": servePolicy,
	}
}

func playRole(ctx context.Context, play role) int {
	// Where Pebble is killed, nobody reads any more what a service says. It must not
	// die of that, while jobs wait for its answer.
	signal.Ignore(syscall.SIGPIPE)
	if err := play(ctx, os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		return 1
	}
	return 0
}

func main() {
	os.Exit(run())
}

func run() int {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println(version)
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) > 1 {
		if play, ok := roles()[os.Args[1]]; ok {
			return playRole(ctx, play)
		}
	}
	called, err := juju.FromEnvironment(os.Getenv, os.Args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n\n%s", err, usage)
		return 2
	}
	tools := &juju.Tools{}
	records := juju.NewLogHook(tools)
	defer records.Close()
	log := juju.NewLogger(records, logrus.DebugLevel).WithField("event", called.Name)
	root := os.Getenv(rootVariable)
	c := &charm.Charm{
		Context:    called,
		Model:      tools,
		Operator:   tools,
		Neighbours: tools,
		Machine:    runtime.GOARCH,
		Root:       root,
		Build:      version,
		Assemble:   fleet.Assembler{Root: root, App: called.App, Version: version, PolicyPort: policy.Port}.Assemble,
		Services: func(dir *unitdir.Dir) (charm.Services, error) {
			return services.New(services.Config{Dir: dir, CharmDir: called.CharmDir, Root: root, LXDDir: os.Getenv("LXD_DIR"), Log: log})
		},
		Log: log,
	}
	if err := c.Run(ctx); err != nil {
		log.WithError(err).Error("cannot complete")
		return 1
	}
	return 0
}
