package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"golang.org/x/sync/errgroup"

	"github-runner/charm/cloudinit"
	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

const (
	// onlineDeadline is what the charm gives the watchdog of a container.
	onlineDeadline = 8 * time.Minute
	// removeTimeout bounds the removal of one start's containers.
	removeTimeout = 2 * time.Minute
)

// floorPrefix is what the names of the floor's runners start with: no unit's.
const floorPrefix = "floor-"

// floor is the least that it takes to have containers online: the same
// user-data and profile, JIT configurations made beforehand, and a plain loop.
type floor struct {
	stage       *stage
	server      client.InstanceServer
	github      *github.Client
	scope       runner.Scope
	application runner.Application
	profiles    []string
	exchange    string
	// image is the alias of what its runners start from.
	image string
	// proxy is what its runners are told of a proxy.
	proxy cloudinit.Proxy
	// bare runners have no folder for exchange.
	bare bool
	// weigh has the processor time of a start measured as well, which takes a real
	// LXD on this machine.
	weigh bool
}

// plain is one runner of the floor.
type plain struct {
	name    string
	id      int64
	request api.InstancesPost
}

// newFloor takes the profile from a runner of the unit's that is online.
func newFloor(ctx context.Context, u *unit) (*floor, error) {
	f := &floor{
		stage:    u.stage,
		github:   github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}}),
		scope:    runner.Scope{API: u.stage.api(), Path: repository},
		exchange: filepath.Join(u.stage.dir, "floor"),
		image:    imageAlias,
	}
	var err error
	if f.server, err = u.stage.connect(ctx); err != nil {
		return nil, err
	}
	instances, err := f.server.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return nil, fmt.Errorf("cannot find the charm's profile: %w", err)
	}
	for _, instance := range instances {
		if u.owner.Owns(instance.Name) {
			f.profiles = instance.Profiles
		}
	}
	if len(f.profiles) == 0 {
		return nil, errors.New("cannot find the charm's profile: it has no instance")
	}
	f.application, err = f.github.Application(ctx, f.scope, architectures[runtime.GOARCH])
	return f, err
}

// architectures are GitHub's names for Go's.
var architectures = map[string]string{"amd64": "x64", "arm64": "arm64"}

func (f *floor) close() {
	f.server.Disconnect()
	f.github.Close()
}

// start measures the creation of so many containers, and removes them.
func (f *floor) start(ctx context.Context, count int) (start, error) {
	runners, err := f.prepare(ctx, count)
	var measured start
	if err == nil {
		measured, err = f.run(ctx, runners)
	}
	if err != nil {
		err = fmt.Errorf("cannot start %d containers by a plain loop: %w", count, err)
	}
	return measured, errors.Join(err, f.remove(context.WithoutCancel(ctx), runners))
}

// run is what is measured.
func (f *floor) run(ctx context.Context, runners []plain) (measured start, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*onlineTimeout)
	defer cancel()
	if f.weigh {
		if measured.Work, err = f.work(nil); err != nil {
			return start{}, err
		}
	}
	began := time.Now()
	if err := f.create(ctx, runners); err != nil {
		return start{}, err
	}
	if err := f.stage.waitOnline(ctx, floorPrefix, len(runners), onlineTimeout); err != nil {
		return start{}, err
	}
	measured.Online = time.Since(began)
	if f.weigh {
		after, err := f.work(runners)
		if err != nil {
			return start{}, err
		}
		measured.Work = after - measured.Work
	}
	return measured, nil
}

// prepare does beforehand what needs no container.
func (f *floor) prepare(ctx context.Context, count int) ([]plain, error) {
	var runners []plain
	for range count {
		one, err := f.prepareOne(ctx)
		if err != nil {
			return runners, err
		}
		runners = append(runners, one)
	}
	return runners, nil
}

func (f *floor) prepareOne(ctx context.Context) (plain, error) {
	var random [4]byte
	rand.Read(random[:]) // never fails, by its contract
	name := floorPrefix + hex.EncodeToString(random[:])
	registration, jit, err := f.github.Register(ctx, f.scope, runner.Request{Name: name, Labels: []string{"self-hosted"}})
	if err != nil {
		return plain{}, err
	}
	userData, err := cloudinit.UserData(cloudinit.Machine{
		Name:            name,
		JIT:             jit,
		Application:     cloudinit.Application{URL: f.application.URL, SHA256: f.application.SHA256},
		ExchangeMounted: !f.bare,
		OnlineDeadline:  onlineDeadline,
		Proxy:           f.proxy,
	})
	if err != nil {
		return plain{}, err
	}
	devices, err := f.devices(name)
	if err != nil {
		return plain{}, err
	}
	return plain{name: name, id: registration.ID, request: api.InstancesPost{
		Name:   name,
		Type:   api.InstanceTypeContainer,
		Source: api.InstanceSource{Type: "image", Alias: f.image},
		InstancePut: api.InstancePut{
			Profiles: f.profiles,
			Config:   map[string]string{"cloud-init.user-data": string(userData)},
			Devices:  devices,
		},
	}}, nil
}

// devices are what a runner has beside its profile's: a folder for exchange.
func (f *floor) devices(name string) (map[string]map[string]string, error) {
	if f.bare {
		return nil, nil
	}
	folder := filepath.Join(f.exchange, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(folder, 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	return map[string]map[string]string{"exchange": {"type": "disk", "source": folder, "path": cloudinit.ExchangeDir}}, nil
}

// create is the plain loop.
func (f *floor) create(ctx context.Context, runners []plain) error {
	return each(runners, func(one plain) error {
		operation, err := f.server.CreateInstance(one.request)
		if err != nil {
			return err
		}
		if err := operation.WaitContext(ctx); err != nil {
			return err
		}
		return f.power(ctx, one.name, "start")
	})
}

func (f *floor) power(ctx context.Context, name, action string) error {
	operation, err := f.server.UpdateInstanceState(name, api.InstanceStatePut{Action: action, Force: action == "stop", Timeout: -1}, "")
	if err != nil {
		return err
	}
	return operation.WaitContext(ctx)
}

// remove leaves nothing of the floor's runners.
func (f *floor) remove(ctx context.Context, runners []plain) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	err := each(runners, func(one plain) error {
		if err := f.github.Deregister(ctx, f.scope, one.id); err != nil {
			return err
		}
		// A refusal to stop is mostly that there is nothing to stop, for the
		// runner ends without its registration: else the deletion says so.
		_ = f.power(ctx, one.name, "stop")
		operation, err := f.server.DeleteInstance(one.name)
		if api.StatusErrorCheck(err, http.StatusNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return operation.WaitContext(ctx)
	})
	if err != nil {
		return fmt.Errorf("cannot remove the containers of the plain loop: %w", err)
	}
	return os.RemoveAll(f.exchange)
}

// each does something to all runners at once.
func each(runners []plain, do func(plain) error) error {
	var group errgroup.Group
	for _, one := range runners {
		group.Go(func() error {
			if err := do(one); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}
