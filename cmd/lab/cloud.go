package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github-runner/lab"
	"github-runner/lab/faults"
)

// cloudTimeout bounds what a command asks of a cloud.
const cloudTimeout = 2 * time.Minute

// cloud is what the commands ask of the lab's cloud.
type cloud interface {
	// Instances returns all instances, sorted by name.
	Instances(ctx context.Context) ([]instanceInfo, error)
	// Watch tells until ctx ends when instances may have changed.
	Watch(ctx context.Context) (changed <-chan struct{}, err error)
	// Stop pulls an instance's plug, and returns when it is off.
	Stop(ctx context.Context, name string) error
	// Delete deletes an instance, and returns when it is gone.
	Delete(ctx context.Context, name string) error
	// Reboot lets an instance boot again, without a goodbye to anybody.
	Reboot(ctx context.Context, name string) error
	// AddForeign makes an instance that is not the charm's, and returns when it runs.
	AddForeign(ctx context.Context, name string) error
	// Images returns all images.
	Images(ctx context.Context) ([]imageInfo, error)
	// RenewImage lets a name lead to a newer image with the same content, and returns
	// its ID.
	RenewImage(ctx context.Context, name string) (id string, err error)
}

// inside is what the commands ask of what runs in the instances.
type inside interface {
	// Kill kills a guest's runner application.
	Kill(ctx context.Context, name string) error
	// Read returns a file of a guest.
	Read(ctx context.Context, name, path string) (io.ReadCloser, error)
	// Exchange returns where a guest leaves files for the manager.
	Exchange(ctx context.Context, name string) (exchange, error)
}

// exchange is where a guest leaves files for the manager.
type exchange interface {
	Has(ctx context.Context, file string) (bool, error)
	Leave(ctx context.Context, file, content string) error
}

// target is what an order goes to.
type target struct {
	lab *lab.Lab
	env environment
	cloud
	// inside is nil where the commands can't look into instances.
	inside inside
	// control takes the orders for an emulation; nil: the cloud is a real one.
	control *faults.Control
	// kinds are the lines that tell of each fault that the emulation has.
	kinds []string
}

// cloudCommand is one subcommand of "lab cloud".
type cloudCommand struct {
	name    string
	summary string
	run     func(ctx context.Context, t target, args []string) error
}

func cloudCommands() []cloudCommand {
	return []cloudCommand{
		{"instances", "List all instances; --format json", cloudInstances},
		{"wait", "Wait until so many instances are as said", cloudWait},
		{"wait-file", "Wait until an instance has left a file: wait-file NAME FILE", cloudWaitFile},
		{"stop", "Pull an instance's plug: stop NAME", onName(cloud.Stop)},
		{"delete", "Stop and delete an instance: delete NAME", onName(cloud.Delete)},
		{"reboot", "Let a guest reboot itself: reboot NAME", onName(cloud.Reboot)},
		{"exit", "Kill a guest's runner application: exit NAME", cloudExit},
		{"cat", "Print a file of a running instance: cat NAME PATH", cloudCat},
		{"write", "Leave a file as a job might: write NAME FILE CONTENT", cloudWrite},
		{"images", "List all images with their aliases", cloudImages},
		{"image", "Let an alias lead to an image for another type, or a newer one: image ALIAS TYPE|newer", cloudImage},
		{"add-foreign", "Make an instance that is not the charm's: add-foreign NAME", onName(cloud.AddForeign)},
		{"add-python-charm", "LXD: make what the Python charm leaves of a unit: add-python-charm UNIT [--runners N]", onLXD(cloudAddPythonCharm)},
		{"edit-profile", "LXD: edit the profiles by hand: edit-profile [NAME [KEY=VALUE…]]", onLXD(cloudEditProfile)},
		{"edit-network", "LXD: edit the networks by hand: edit-network [NAME [KEY=VALUE…]]", onLXD(cloudEditNetwork)},
		{"acls", "LXD: list what network ACLs close to the instances; --format json", onLXD(cloudACLs)},
		{"groups", "OpenStack: list what the security groups let through; --format json", onOpenStack(cloudGroups)},
		{"edit-group", "OpenStack: open the security groups by hand: edit-group [NAME]", onOpenStack(cloudEditGroup)},
		{"restart", "Restart the cloud's API; --down says how long it is away", cloudRestart},
		{"fault", "Let things go wrong: fault add KIND, fault list, fault clear [ID|KIND]", cloudFault},
	}
}

// cmdCloud gives orders to the lab's cloud.
func cmdCloud(ctx context.Context, env environment, args []string) error {
	for _, command := range cloudCommands() {
		if len(args) == 0 || args[0] != command.name {
			continue
		}
		l, err := lab.Open(env.Dir)
		if err != nil {
			return err
		}
		return order(ctx, l, env, command, args[1:])
	}
	fmt.Fprint(env.Stderr, "Usage: lab cloud COMMAND …\n\n")
	for _, command := range cloudCommands() {
		fmt.Fprintf(env.Stderr, "  %-16s  %s\n", command.name, command.summary)
	}
	if len(args) == 0 {
		return usagef("a command is missing")
	}
	if args[0] == "--help" {
		return nil
	}
	return usagef("unknown command %q", "cloud "+args[0])
}

// order connects to the lab's cloud and runs a command on it.
func order(ctx context.Context, l *lab.Lab, env environment, command cloudCommand, args []string) error {
	if !l.OnLXD() {
		return command.run(ctx, openstackTarget(ctx, l, env), args)
	}
	t, disconnect, err := lxdTarget(ctx, l, env)
	if err != nil {
		return err
	}
	defer disconnect()
	return command.run(ctx, t, args)
}

// onLXD is a command that has a meaning on LXD alone.
func onLXD(run func(ctx context.Context, t target, on lxdCloud, args []string) error) func(context.Context, target, []string) error {
	return func(ctx context.Context, t target, args []string) error {
		on, ok := t.cloud.(lxdCloud)
		if !ok {
			return fmt.Errorf("cannot do that on the cloud %s: it is for LXD alone", t.lab.Cloud)
		}
		return run(ctx, t, on, args)
	}
}

// onOpenStack is a command that has a meaning on OpenStack alone.
func onOpenStack(run func(ctx context.Context, t target, on openstackCloud, args []string) error) func(context.Context, target, []string) error {
	return func(ctx context.Context, t target, args []string) error {
		on, ok := t.cloud.(openstackCloud)
		if !ok {
			return fmt.Errorf("cannot do that on the cloud %s: it is for OpenStack alone", t.lab.Cloud)
		}
		return run(ctx, t, on, args)
	}
}

// onName is a command that takes an instance's name alone.
func onName(do func(cloud, context.Context, string) error) func(context.Context, target, []string) error {
	return func(ctx context.Context, t target, args []string) error {
		name, err := oneName(args)
		if err != nil {
			return err
		}
		return do(t.cloud, ctx, name)
	}
}

// oneName is the argument of commands that take an instance's name alone.
func oneName(args []string) (string, error) {
	if len(args) != 1 {
		return "", usagef("one instance is to be named, not %d", len(args))
	}
	if strings.HasPrefix(args[0], "-") {
		return "", usagef("%q is no instance's name, and there are no options", args[0])
	}
	return args[0], nil
}

// instanceInfo is one instance as "lab cloud instances" prints it.
type instanceInfo struct {
	Name string `json:"name"`
	// Status is in LXD's words, in lower case: running, stopped, error, …
	Status  string    `json:"status"`
	Type    string    `json:"type"`
	Created time.Time `json:"created"`
	// Image is the fingerprint or ID of the image that it was made of.
	Image string `json:"image"`
	// Metadata are a server's metadata, or the configuration keys that begin with
	// "user.".
	Metadata map[string]string `json:"metadata"`
}

func cloudInstances(ctx context.Context, t target, args []string) error {
	flags, format := labFlags(t.env, "cloud instances")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	infos, err := t.Instances(ctx)
	if err != nil {
		return err
	}
	return print(t.env, *format, infos, "NAME\tSTATUS\tCREATED\tIMAGE", func(w io.Writer) {
		for _, i := range infos {
			fmt.Fprintf(w, "%s\t%s\t%s\t%.12s\n", i.Name, i.Status, i.Created.UTC().Format(time.TimeOnly), i.Image)
		}
	})
}

// guests returns what runs in the instances, or why the commands can't look there.
func (t target) guests() (inside, error) {
	if t.inside == nil {
		return nil, fmt.Errorf("cannot look into the instances of the cloud %s from outside", t.lab.Cloud)
	}
	return t.inside, nil
}

func cloudExit(ctx context.Context, t target, args []string) error {
	name, err := oneName(args)
	if err != nil {
		return err
	}
	guests, err := t.guests()
	if err != nil {
		return err
	}
	return guests.Kill(ctx, name)
}

func cloudWrite(ctx context.Context, t target, args []string) error {
	if len(args) != 3 {
		return usagef("it is: lab cloud write NAME FILE CONTENT")
	}
	if !filepath.IsLocal(args[1]) {
		return usagef("file %q is not inside the exchange folder", args[1])
	}
	guests, err := t.guests()
	if err != nil {
		return err
	}
	folder, err := guests.Exchange(ctx, args[0])
	if err != nil {
		return err
	}
	return folder.Leave(ctx, args[1], args[2])
}

func cloudCat(ctx context.Context, t target, args []string) error {
	if len(args) != 2 {
		return usagef("it is: lab cloud cat NAME PATH")
	}
	guests, err := t.guests()
	if err != nil {
		return err
	}
	content, err := guests.Read(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	defer content.Close()
	if _, err := io.Copy(t.env.Stdout, content); err != nil {
		return fmt.Errorf("cannot read %s in %s: %w", args[1], args[0], err)
	}
	return nil
}
