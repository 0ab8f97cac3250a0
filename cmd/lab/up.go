package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github-runner/lab"
	"github-runner/lab/allinone"
	"github-runner/lab/image"
)

// cmdUp starts a lab and says where everything is.
func cmdUp(ctx context.Context, env environment, args []string) error {
	flags := newFlags("up", env)
	cloud := flags.String("cloud", lab.CloudAuto, "lxd, emulated, openstack, openstack-emulated, or auto: real LXD where it can run, else its emulation")
	guests := flags.String("guests", string(allinone.Fake), "servers of a real OpenStack of its own: fake, where nothing boots, or qemu")
	share := flags.String("share", "", "with --cloud openstack: directory of the lab whose OpenStack is used, in a project of its own")
	dir := flags.String("dir", env.Dir, "the lab's directory, missing or empty")
	mirror := flags.String("mirror", image.DefaultMirror, "Debian mirror that the test image is built from")
	noAgent := flags.Bool("no-agent", false, "switch the units' resident agents off: hooks alone look after runners")
	dryRun := flags.Bool("dry-run", false, "only say which cloud it would take, and why")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot start a lab: %w", err)
	}
	options := lab.Options{
		Dir:      *dir,
		Cloud:    *cloud,
		Guests:   allinone.Guests(*guests),
		Share:    *share,
		NoAgent:  *noAgent,
		Program:  program,
		Images:   image.Builder{Cache: image.DefaultCache, Mirror: *mirror},
		Progress: env.Stdout,
	}
	if *dryRun {
		_, err := lab.ChooseCloud(options)
		return err
	}
	l, err := lab.Up(ctx, options)
	if err != nil {
		return err
	}
	tell(env, l, again(*dir))
	return nil
}

// tell says where everything of a lab is and what can be done with it; program is how
// the user calls this program for it.
func tell(env environment, l *lab.Lab, program string) {
	cloud := "LXD     LXD_DIR=" + l.LXDDir
	options := "lxd-instance-type=container"
	if !l.OnLXD() {
		cloud = "Cloud   OS_CLIENT_CONFIG_FILE=" + l.CloudsPath()
		options = strings.Join(openstackOptions(l), " \\\n      --config ")
	}
	fmt.Fprintf(env.Stdout, `
GitHub  %[1]s (any token of 3 characters or more, any owner)
%[2]s
Root    GITHUB_RUNNER_ROOT=%[3]s
Logs    %[4]s

Next:
  %[5]s juju deploy ./github-runner_%[6]s.charm --config path=acme/widgets \
      --config token=ghp_example --config %[7]s
  %[5]s github job --count 3
  %[5]s juju status
  %[5]s cloud instances
  %[5]s down
`, l.GitHubURL, cloud, l.Root, l.LogDir(), program, runtime.GOARCH, options)
}

// openstackOptions tell a charm of the lab's OpenStack.
func openstackOptions(l *lab.Lab) []string {
	options := []string{
		"openstack-clouds-yaml=@" + l.CloudsPath(), "openstack-flavor=" + l.OpenStack.Flavor, "openstack-network=" + l.OpenStack.Network,
	}
	if l.OpenStack.ProxyCommand != "" {
		options = append(options, `manager-ssh-proxy-command="`+l.OpenStack.ProxyCommand+`"`)
	}
	return options
}

// again is how the user calls this program for the same lab.
func again(dir string) string {
	if usual, err := filepath.Abs(usualDir()); err == nil && dir == usual {
		return os.Args[0]
	}
	return os.Args[0] + " --dir " + dir
}

func newFlags(name string, env environment) *flag.FlagSet {
	flags := flag.NewFlagSet("lab "+name, flag.ContinueOnError)
	flags.SetOutput(env.Stderr)
	return flags
}

// parseAlone parses the options of a command that takes nothing else.
func parseAlone(flags *flag.FlagSet, args []string) error {
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("%s takes no argument such as %q", flags.Name(), rest[0])
	}
	return nil
}
