package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/lab"
	emulation "github-runner/lab/lxd"
)

// exchangeDevice is the disk device by which the charm's runners leave files.
const exchangeDevice = "exchange"

// lxdCloud is the lab's LXD, real or emulated.
type lxdCloud struct {
	lab    *lab.Lab
	server lxd.InstanceServer
}

var (
	_ cloud  = lxdCloud{}
	_ inside = lxdCloud{}
)

// lxdTarget connects to the lab's LXD.
func lxdTarget(ctx context.Context, l *lab.Lab, env environment) (t target, disconnect func(), err error) {
	server, err := lxd.ConnectLXDUnixWithContext(ctx, l.LXDSocket(), &lxd.ConnectionArgs{SkipGetServer: true})
	if err != nil {
		return target{}, nil, fmt.Errorf("cannot reach LXD at %s: %w", l.LXDSocket(), err)
	}
	on := lxdCloud{lab: l, server: server}
	t = target{lab: l, env: env, cloud: on, inside: on}
	if l.Emulated() {
		t.control, t.kinds = emulation.Dial(l.CloudSocket()), emulation.Kinds()
	}
	return t, server.Disconnect, nil
}

// await waits for an operation.
func (c lxdCloud) await(ctx context.Context, operation lxd.Operation, err error) error {
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	return operation.WaitContext(ctx)
}

// Instances implements cloud.
func (c lxdCloud) Instances(context.Context) ([]instanceInfo, error) {
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

// Watch implements cloud, by LXD's events.
func (c lxdCloud) Watch(ctx context.Context) (<-chan struct{}, error) {
	listener, err := c.server.GetEvents()
	if err != nil {
		return nil, fmt.Errorf("cannot watch LXD's events: %w", err)
	}
	context.AfterFunc(ctx, listener.Disconnect)
	changed := make(chan struct{}, 1)
	_, err = listener.AddHandler([]string{"lifecycle"}, func(api.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch LXD's events: %w", err)
	}
	return changed, nil
}

// Stop implements cloud.
func (c lxdCloud) Stop(ctx context.Context, name string) error {
	operation, err := c.server.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
	if err := c.await(ctx, operation, err); err != nil {
		return fmt.Errorf("cannot stop %s: %w", name, err)
	}
	return nil
}

// Delete implements cloud.
func (c lxdCloud) Delete(ctx context.Context, name string) error {
	state, _, err := c.server.GetInstanceState(name)
	if err != nil {
		return fmt.Errorf("cannot delete %s: %w", name, err)
	}
	if state.StatusCode != api.Stopped {
		if err := c.Stop(ctx, name); err != nil {
			return err
		}
	}
	operation, err := c.server.DeleteInstance(name)
	if err := c.await(ctx, operation, err); err != nil {
		return fmt.Errorf("cannot delete %s: %w", name, err)
	}
	return nil
}

// exec runs a command in a guest and does not mind how it ends: the guest may go
// away under it.
func (c lxdCloud) exec(ctx context.Context, name string, command ...string) error {
	operation, err := c.server.ExecInstance(name, api.InstanceExecPost{Command: command}, nil)
	if err != nil {
		return fmt.Errorf("cannot run %s in %s: %w", command[0], name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = operation.WaitContext(ctx)
	return nil
}

// Reboot implements cloud. It forces twice: once would wait for a job that can't say
// goodbye to GitHub any more, for a minute and a half.
func (c lxdCloud) Reboot(ctx context.Context, name string) error {
	return c.exec(ctx, name, "systemctl", "reboot", "--force", "--force")
}

// Kill implements inside.
func (c lxdCloud) Kill(ctx context.Context, name string) error {
	return c.exec(ctx, name, "pkill", "-KILL", "-f", "Runner[.](Listener|Worker)")
}

// Read implements inside.
func (c lxdCloud) Read(_ context.Context, name, path string) (io.ReadCloser, error) {
	content, _, err := c.server.GetInstanceFile(name, path)
	if err == nil && content == nil {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in %s: %w", path, name, err)
	}
	return content, nil
}

// Exchange implements inside.
func (c lxdCloud) Exchange(_ context.Context, name string) (exchange, error) {
	dir, err := c.exchangeDir(name)
	return hostFolder(dir), err
}

// exchangeDir is the host's side of an instance's exchange folder.
func (c lxdCloud) exchangeDir(name string) (string, error) {
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

// hostFolder is the path of an exchange folder on the machine.
type hostFolder string

func (f hostFolder) Has(_ context.Context, file string) (bool, error) {
	_, err := os.Lstat(filepath.Join(string(f), file))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (f hostFolder) Leave(_ context.Context, file, content string) error {
	return os.WriteFile(filepath.Join(string(f), file), []byte(content), 0o644)
}

// AddForeign implements cloud.
func (c lxdCloud) AddForeign(ctx context.Context, name string) error {
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
func (c lxdCloud) anyPool() (string, error) {
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
