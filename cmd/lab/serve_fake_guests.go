package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/sirupsen/logrus"

	"github-runner/charm/guest"
	"github-runner/lab"
	"github-runner/lab/fakeguests"
	"github-runner/lab/guests"
	"github-runner/lab/runnerapp"
)

// cmdServeFakeGuests lets guests live in a real OpenStack's fake servers until ctx
// ends.
func cmdServeFakeGuests(ctx context.Context, env environment, args []string) error {
	flags := newFlags("serve-fake-guests", env)
	dir := flags.String("dir", env.Dir, "the lab's directory")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	l, err := lab.Open(*dir)
	if err != nil {
		return err
	}
	clouds, err := os.ReadFile(l.AdminPath())
	if err != nil {
		return fmt.Errorf("cannot reach the lab's OpenStack: %w", err)
	}
	log := logrus.New()
	log.SetOutput(env.Stderr)
	host := fakeguests.New(fakeguests.Options{
		Clouds:  clouds,
		Project: l.ProjectID,
		ListenSSH: func(at netip.Addr) (net.Listener, error) {
			return net.Listen("tcp", netip.AddrPortFrom(at, guest.Port).String())
		},
		Socket: l.CloudSocket(),
		Listen: func(jit string) (guests.Listener, error) { return runnerapp.Open(jit) },
		Log:    logrus.NewEntry(log),
	})
	return host.Serve(ctx, func() { fmt.Fprintln(env.Stdout, "ready") })
}
