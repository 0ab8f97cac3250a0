package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

// files are the values of an option that may be repeated.
type files []string

func (f *files) String() string { return fmt.Sprint(*f) }

func (f *files) Set(value string) error {
	*f = append(*f, value)
	return nil
}

// cmdServeGitHub is the process of a lab's GitHub.
func cmdServeGitHub(ctx context.Context, env environment, args []string) error {
	flags := newFlags("serve-github", env)
	dir := flags.String("dir", env.Dir, "the lab's directory")
	listen := flags.String("listen", "127.0.0.1:0", "address of the API")
	offline := flags.Duration("offline-after", 0, "silence after which a runner is offline (default 5s)")
	lost := flags.Duration("lost-after", 0, "how long a runner that went offline with a job is waited for (default 5s)")
	var applications files
	flags.Var(&applications, "application", "runner application to offer (default: those beside this program or in the lab)")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	if len(applications) == 0 {
		applications = findApplications(*dir)
	}
	log := logrus.New()
	log.SetOutput(env.Stderr)
	server, err := github.New(github.Options{
		Applications: applications,
		JujuSocket:   filepath.Join(*dir, "juju.sock"),
		OfflineAfter: *offline,
		LostAfter:    *lost,
		Log:          logrus.NewEntry(log),
	})
	if err != nil {
		return err
	}
	log.WithField("applications", []string(applications)).Info("serving GitHub")
	return server.Serve(ctx, *listen, filepath.Join(*dir, "github.sock"), func() { fmt.Fprintln(env.Stdout, "ready") })
}

// findApplications looks where the Makefile and 'lab up' put them.
func findApplications(dir string) []string {
	places := []string{dir}
	if program, err := os.Executable(); err == nil {
		places = append(places, filepath.Dir(program))
	}
	for _, place := range places {
		if found, err := filepath.Glob(filepath.Join(place, runnerapp.FileName("*"))); err == nil && len(found) > 0 {
			return found
		}
	}
	return nil
}
