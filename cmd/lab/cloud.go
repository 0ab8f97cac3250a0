package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/lab"
)

const (
	// cloudTimeout bounds what a command asks of LXD.
	cloudTimeout = 2 * time.Minute
	// exchangeDevice is the disk device by which the charm's runners leave files.
	exchangeDevice = "exchange"
)

// cloud is the lab's LXD, real or emulated, as the commands use it.
type cloud struct {
	lab    *lab.Lab
	server lxd.InstanceServer
	env    environment
}

// cloudCommand is one subcommand of "lab cloud".
type cloudCommand struct {
	name    string
	summary string
	run     func(ctx context.Context, c cloud, args []string) error
}

func cloudCommands() []cloudCommand {
	return []cloudCommand{
		{"instances", "List all instances; --format json", cloudInstances},
		{"wait", "Wait until so many instances are as said", cloudWait},
		{"wait-file", "Wait until an instance has left a file: wait-file NAME FILE", cloudWaitFile},
		{"stop", "Pull an instance's plug: stop NAME", cloudStop},
		{"delete", "Stop and delete an instance: delete NAME", cloudDelete},
		{"reboot", "Let a guest reboot itself: reboot NAME", cloudReboot},
		{"exit", "Kill a guest's runner application: exit NAME", cloudExit},
		{"cat", "Print a file of a running instance: cat NAME PATH", cloudCat},
		{"write", "Leave a file as a job might: write NAME FILE CONTENT", cloudWrite},
		{"images", "List all images with their aliases", cloudImages},
		{"image", "Let an alias lead to an image for another type, or a newer one: image ALIAS TYPE|newer", cloudImage},
		{"add-foreign", "Make an instance that is not the charm's: add-foreign NAME", cloudAddForeign},
		{"add-python-charm", "Make what the Python charm leaves of a unit: add-python-charm UNIT [--runners N]", cloudAddPythonCharm},
		{"edit-profile", "Edit the profiles by hand: edit-profile [NAME [KEY=VALUE…]]", cloudEditProfile},
		{"edit-network", "Edit the networks by hand: edit-network [NAME [KEY=VALUE…]]", cloudEditNetwork},
		{"acls", "List what network ACLs close to the instances; --format json", cloudACLs},
		{"restart", "Restart the LXD daemon; --down says how long it is away", cloudRestart},
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
		server, err := lxd.ConnectLXDUnixWithContext(ctx, l.LXDSocket(), &lxd.ConnectionArgs{SkipGetServer: true})
		if err != nil {
			return fmt.Errorf("cannot reach LXD at %s: %w", l.LXDSocket(), err)
		}
		defer server.Disconnect()
		return command.run(ctx, cloud{lab: l, server: server, env: env}, args[1:])
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

// await waits for an operation.
func (c cloud) await(ctx context.Context, operation lxd.Operation, err error) error {
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	return operation.WaitContext(ctx)
}

// instanceInfo is one instance as "lab cloud instances" prints it.
type instanceInfo struct {
	Name    string    `json:"name"`
	Status  string    `json:"status"`
	Type    string    `json:"type"`
	Created time.Time `json:"created"`
	// Image is the fingerprint of the image that it was made of.
	Image string `json:"image"`
	// Metadata are the configuration keys that begin with "user.".
	Metadata map[string]string `json:"metadata"`
}

func (c cloud) instances() ([]instanceInfo, error) {
	all, err := c.server.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return nil, fmt.Errorf("cannot list the instances: %w", err)
	}
	infos := make([]instanceInfo, 0, len(all))
	for _, i := range all {
		metadata := maps.Clone(i.Config)
		maps.DeleteFunc(metadata, func(key, _ string) bool { return !strings.HasPrefix(key, "user.") })
		infos = append(infos, instanceInfo{
			Name: i.Name, Status: strings.ToLower(i.Status), Type: i.Type,
			Created: i.CreatedAt, Image: i.Config["volatile.base_image"], Metadata: metadata,
		})
	}
	slices.SortFunc(infos, func(a, b instanceInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

func cloudInstances(_ context.Context, c cloud, args []string) error {
	flags, format := labFlags(c.env, "cloud instances")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("unexpected argument %q", rest[0])
	}
	infos, err := c.instances()
	if err != nil {
		return err
	}
	return print(c.env, *format, infos, "NAME\tSTATUS\tCREATED\tIMAGE", func(w io.Writer) {
		for _, i := range infos {
			fmt.Fprintf(w, "%s\t%s\t%s\t%.12s\n", i.Name, i.Status, i.Created.UTC().Format(time.TimeOnly), i.Image)
		}
	})
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

func cloudStop(ctx context.Context, c cloud, args []string) error {
	name, err := oneName(args)
	if err != nil {
		return err
	}
	operation, err := c.server.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
	if err := c.await(ctx, operation, err); err != nil {
		return fmt.Errorf("cannot stop %s: %w", name, err)
	}
	return nil
}

func cloudDelete(ctx context.Context, c cloud, args []string) error {
	name, err := oneName(args)
	if err != nil {
		return err
	}
	state, _, err := c.server.GetInstanceState(name)
	if err != nil {
		return fmt.Errorf("cannot delete %s: %w", name, err)
	}
	if state.StatusCode != api.Stopped {
		if err := cloudStop(ctx, c, args); err != nil {
			return err
		}
	}
	operation, err := c.server.DeleteInstance(name)
	if err := c.await(ctx, operation, err); err != nil {
		return fmt.Errorf("cannot delete %s: %w", name, err)
	}
	return nil
}

// inGuest runs a command in a guest and does not mind how it ends: the guest
// may go away under it.
func (c cloud) inGuest(ctx context.Context, args []string, command ...string) error {
	name, err := oneName(args)
	if err != nil {
		return err
	}
	operation, err := c.server.ExecInstance(name, api.InstanceExecPost{Command: command}, nil)
	if err != nil {
		return fmt.Errorf("cannot run %s in %s: %w", command[0], name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = operation.WaitContext(ctx)
	return nil
}

// cloudReboot forces twice: once would wait for a job that can't say goodbye to
// GitHub any more, for a minute and a half.
func cloudReboot(ctx context.Context, c cloud, args []string) error {
	return c.inGuest(ctx, args, "systemctl", "reboot", "--force", "--force")
}

func cloudExit(ctx context.Context, c cloud, args []string) error {
	return c.inGuest(ctx, args, "pkill", "-KILL", "-f", "Runner[.](Listener|Worker)")
}

// exchangeDir is the host's side of an instance's exchange folder.
func (c cloud) exchangeDir(name string) (string, error) {
	i, _, err := c.server.GetInstance(name)
	if err != nil {
		return "", fmt.Errorf("cannot find the exchange folder of %s: %w", name, err)
	}
	source := i.ExpandedDevices[exchangeDevice]["source"]
	if source == "" {
		return "", fmt.Errorf("cannot find the exchange folder of %s: it has no device %q", name, exchangeDevice)
	}
	return source, nil
}

func cloudWrite(_ context.Context, c cloud, args []string) error {
	if len(args) != 3 {
		return usagef("it is: lab cloud write NAME FILE CONTENT")
	}
	dir, err := c.exchangeDir(args[0])
	if err != nil {
		return err
	}
	if !filepath.IsLocal(args[1]) {
		return usagef("file %q is not inside the exchange folder", args[1])
	}
	return os.WriteFile(filepath.Join(dir, args[1]), []byte(args[2]), 0o644)
}

func cloudCat(_ context.Context, c cloud, args []string) error {
	if len(args) != 2 {
		return usagef("it is: lab cloud cat NAME PATH")
	}
	content, _, err := c.server.GetInstanceFile(args[0], args[1])
	if err != nil {
		return fmt.Errorf("cannot read %s in %s: %w", args[1], args[0], err)
	}
	if content == nil {
		return fmt.Errorf("cannot read %s in %s: it is no file", args[1], args[0])
	}
	defer content.Close()
	if _, err := io.Copy(c.env.Stdout, content); err != nil {
		return fmt.Errorf("cannot read %s in %s: %w", args[1], args[0], err)
	}
	return nil
}

func cloudAddForeign(ctx context.Context, c cloud, args []string) error {
	name, err := oneName(args)
	if err != nil {
		return err
	}
	pool, err := c.anyPool()
	if err != nil {
		return err
	}
	operation, err := c.server.CreateInstance(api.InstancesPost{
		Name: name, Type: api.InstanceTypeContainer,
		Source: api.InstanceSource{Type: "image", Alias: "noble"},
		InstancePut: api.InstancePut{
			Profiles: []string{},
			Devices:  map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": pool}},
		},
	})
	if err := c.await(ctx, operation, err); err != nil {
		return fmt.Errorf("cannot make %s: %w", name, err)
	}
	operation, err = c.server.UpdateInstanceState(name, api.InstanceStatePut{Action: "start", Timeout: -1}, "")
	if err := c.await(ctx, operation, err); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	return nil
}

// anyPool returns a storage pool; it makes one where there is none.
func (c cloud) anyPool() (string, error) {
	names, err := c.server.GetStoragePoolNames()
	if err != nil {
		return "", fmt.Errorf("cannot list the storage pools: %w", err)
	}
	if len(names) > 0 {
		return names[0], nil
	}
	const name = "foreign"
	if err := c.server.CreateStoragePool(api.StoragePoolsPost{Name: name, Driver: "dir"}); err != nil {
		return "", fmt.Errorf("cannot make a storage pool: %w", err)
	}
	return name, nil
}

// edits splits arguments into names, of which all are meant when none is given,
// and KEY=VALUE.
func edits(args []string, all []string, standard map[string]string) (names []string, config map[string]string, err error) {
	if len(args) == 0 {
		return all, standard, nil
	}
	if len(args) == 1 {
		return args, standard, nil
	}
	config = make(map[string]string)
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, nil, usagef("%q is not KEY=VALUE", arg)
		}
		config[key] = value
	}
	return args[:1], config, nil
}

func cloudEditProfile(_ context.Context, c cloud, args []string) error {
	all, err := c.server.GetProfileNames()
	if err != nil {
		return fmt.Errorf("cannot list the profiles: %w", err)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return name == "default" })
	names, config, err := edits(args, all, map[string]string{"limits.processes": "4321"})
	if err != nil {
		return err
	}
	for _, name := range names {
		profile, etag, err := c.server.GetProfile(name)
		if err != nil {
			return fmt.Errorf("cannot edit profile %s: %w", name, err)
		}
		put := profile.Writable()
		maps.Copy(put.Config, config)
		if err := c.server.UpdateProfile(name, put, etag); err != nil {
			return fmt.Errorf("cannot edit profile %s: %w", name, err)
		}
	}
	return nil
}

func cloudEditNetwork(_ context.Context, c cloud, args []string) error {
	all, err := c.server.GetNetworks()
	if err != nil {
		return fmt.Errorf("cannot list the networks: %w", err)
	}
	var managed []string
	for _, network := range all {
		if network.Managed {
			managed = append(managed, network.Name)
		}
	}
	names, config, err := edits(args, managed, map[string]string{"ipv4.nat": "false"})
	if err != nil {
		return err
	}
	for _, name := range names {
		network, etag, err := c.server.GetNetwork(name)
		if err != nil {
			return fmt.Errorf("cannot edit network %s: %w", name, err)
		}
		put := network.Writable()
		maps.Copy(put.Config, config)
		if err := c.server.UpdateNetwork(name, put, etag); err != nil {
			return fmt.Errorf("cannot edit network %s: %w", name, err)
		}
	}
	return nil
}
