package lxd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// exchangeDevice is the disk device that the exchange folder is attached as.
const exchangeDevice = "exchange"

// Create implements runner.Cloud: exchange folder, instance, start. What a
// failure leaves behind is found by List and removed by Delete.
func (c *Cloud) Create(ctx context.Context, template runner.Template, birth runner.Birth) error {
	if !c.config.Owner.Owns(birth.Name) {
		return fmt.Errorf("cannot create instance %q: its name is not one of unit %s", birth.Name, c.config.Owner.Unit)
	}
	userData, err := cloudinit.UserData(c.machine(template, birth))
	if err != nil {
		return err
	}
	plain, err := c.exchange(birth.Name).make()
	if err != nil {
		return err
	}
	if plain && c.plain.CompareAndSwap(false, true) {
		c.log.Warn("runners exchange files through plain folders, because this process may not mount a tmpfs: their size is not bounded")
	}
	server, cancel, err := c.connect(ctx, createDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	cacheable, err := c.cacheable(server)
	if err != nil {
		return err
	}

	request := api.InstancesPost{
		Name:   birth.Name,
		Type:   api.InstanceType(c.config.InstanceType),
		Source: api.InstanceSource{Type: "image", Alias: c.config.ImageAlias},
		InstancePut: api.InstancePut{
			Profiles: []string{c.profileName(cacheable)},
			Config:   c.metadata(template, birth, time.Now()),
			Devices: map[string]map[string]string{
				exchangeDevice: {"type": "disk", "source": c.exchange(birth.Name).path(), "path": cloudinit.ExchangeDir},
			},
		},
	}
	request.Config[keyUserData] = string(userData)
	if err := server.change(http.MethodPost, "/instances", request, ""); err != nil {
		return c.explainFull(server, fmt.Errorf("cannot create instance %s: %w", birth.Name, err))
	}
	if err := server.power(birth.Name, "start"); err != nil {
		return c.explainFull(server, fmt.Errorf("cannot start instance %s: %w", birth.Name, err))
	}
	return nil
}

// power asks for a state and waits for it. Stopping means pulling the plug: what
// runs there is nobody's any more.
func (s server) power(name, action string) error {
	request := api.InstanceStatePut{Action: action, Timeout: -1, Force: action == "stop"}
	return s.change(http.MethodPut, apiPath("instances", name, "state"), request, "")
}

// machine are the facts that a runner's user-data is rendered from.
func (c *Cloud) machine(template runner.Template, birth runner.Birth) cloudinit.Machine {
	machine := cloudinit.Machine{
		Name:            birth.Name,
		JIT:             birth.JIT,
		Application:     cloudinit.Application{URL: template.Want.Application.URL, SHA256: template.Want.Application.SHA256},
		ExchangeMounted: true,
		OnlineDeadline:  c.config.bootDeadline() + watchdogMargin,
		Proxy:           c.config.Proxy,
		Aproxy:          c.config.Aproxy,
		DockerMirror:    c.config.DockerMirror,
	}
	if hosts := c.usableDebugHosts(); len(hosts) > 0 {
		machine.DebugHost = &hosts[rand.IntN(len(hosts))]
	}
	return machine
}
