package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"

	"github-runner/lab"
	"github-runner/lab/guests"
	"github-runner/lab/openstack"
	"github-runner/lab/runnerapp"
)

// The lab's own project and user in the emulated OpenStack.
const (
	openstackProject = "lab"
	openstackUser    = "lab"
)

// cmdServeOpenStack runs the emulated OpenStack until ctx ends. What its users need to
// know of it is in the lab's clouds.yaml before it says that it is ready.
func cmdServeOpenStack(ctx context.Context, env environment, args []string) error {
	flags := flag.NewFlagSet("serve-openstack", flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	timing := openstack.Quick()
	dir := flags.String("dir", env.Dir, "the lab's directory")
	address := flags.String("listen", "", "address of the APIs; default: a free port of 127.0.0.1")
	flags.DurationVar(&timing.Call, "call", timing.Call, "how long every call takes")
	flags.DurationVar(&timing.Build, "build", timing.Build, "how long a server builds")
	flags.DurationVar(&timing.Boot, "boot", timing.Boot, "how long a guest boots until its runner application starts")
	if err := flags.Parse(args); err != nil {
		return usagef("%v", err)
	}
	log := logrus.New()
	log.SetOutput(env.Stderr)
	world := openstack.FirstWorld()
	// Ten is the default: an operator with more units raises it.
	world.Projects[0].Quota.SecurityGroups, world.Projects[0].Quota.SecurityGroupRules = 100, 1000
	server, err := openstack.New(openstack.Options{
		Dir:     *dir,
		World:   world,
		Address: *address,
		Timing:  timing,
		Log:     logrus.NewEntry(log),
		Listen:  func(jit string) (guests.Listener, error) { return runnerapp.Open(jit) },
	})
	if err != nil {
		return fmt.Errorf("cannot start the emulated OpenStack: %w", err)
	}
	clouds := (&lab.Lab{Dir: *dir}).CloudsPath()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var unwritten error
	err = server.Serve(ctx, func() {
		content := server.CloudsYAML(openstackProject, openstackUser)
		if unwritten = os.WriteFile(clouds, []byte(content), 0o600); unwritten != nil {
			cancel()
			return
		}
		fmt.Fprintln(env.Stdout, "ready")
	})
	if unwritten != nil {
		return fmt.Errorf("cannot tell how to reach the emulated OpenStack: %w", unwritten)
	}
	return err
}
