package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"

	"github-runner/charm/agent"
	"github-runner/charm/fleet"
	"github-runner/charm/policy"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

const agentUsage = "github-runner agent --unit FOLDER"

// keepRunners is the role of the resident agent. SIGHUP makes it look at the
// runners now.
func keepRunners(ctx context.Context, args []string) error {
	if len(args) != 2 || args[0] != "--unit" {
		return errors.New("usage: " + agentUsage)
	}
	root := os.Getenv("GITHUB_RUNNER_ROOT")
	dir, err := unitdir.Find(root, args[1])
	if err != nil {
		return err
	}
	log := logrus.New()
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	return agent.Run(ctx, agent.Config{
		Dir:   dir,
		Build: version,
		Assemble: func(s state.CharmState, m unit.Materials) (unit.Fleet, error) {
			app, _, _ := strings.Cut(s.Owner.Unit, "/")
			return fleet.Assembler{Root: root, App: app, Version: version, PolicyPort: policy.Port}.Assemble(s, m)
		},
		Wake: hangups,
		Log:  logrus.NewEntry(log),
	})
}
