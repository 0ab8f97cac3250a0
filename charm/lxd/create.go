package lxd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
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
	userData, err := c.userData(server, template, birth)
	if err != nil {
		return err
	}

	request := api.InstancesPost{
		Name:   birth.Name,
		Type:   api.InstanceType(c.config.InstanceType),
		Source: c.source(template),
		InstancePut: api.InstancePut{
			Profiles: []string{c.profileName(cacheable)},
			Config:   c.metadata(template, birth, time.Now()),
			Devices: map[string]map[string]string{
				exchangeDevice: c.exchange(birth.Name).device(),
			},
		},
	}
	request.Config[keyUserData] = string(userData)
	return c.launch(server, request)
}

// launch makes an instance and switches it on.
func (c *Cloud) launch(server server, request api.InstancesPost) error {
	if err := server.change(http.MethodPost, "/instances", request, ""); err != nil {
		return c.explainFull(server, fmt.Errorf("cannot create instance %s: %w", request.Name, err))
	}
	if err := server.power(request.Name, "start"); err != nil {
		return c.explainFull(server, fmt.Errorf("cannot start instance %s: %w", request.Name, err))
	}
	return nil
}

// source is what a runner's disk begins as: the very image that the template was
// hashed with, even where its alias has moved on.
func (c *Cloud) source(template runner.Template) api.InstanceSource {
	if template.Image == "" {
		return api.InstanceSource{Type: "image", Alias: c.config.ImageAlias}
	}
	return api.InstanceSource{Type: "image", Fingerprint: template.Image}
}

// userData renders a runner's user-data, with a token of its own.
func (c *Cloud) userData(server server, template runner.Template, birth runner.Birth) ([]byte, error) {
	machine := c.machine(template, birth)
	if c.config.Policy.isOn() {
		url, err := c.policyURL(server)
		if err != nil {
			return nil, err
		}
		token, err := c.config.Policy.NewToken(birth.Name)
		if err != nil {
			return nil, err
		}
		machine.Policy = &cloudinit.Policy{URL: url, Token: token}
	}
	return cloudinit.UserData(machine)
}

// policyURL is where runners find the policy service.
func (c *Cloud) policyURL(server server) (string, error) {
	networks, err := server.GetNetworks()
	if err != nil {
		return "", cannot(err, "list LXD's networks")
	}
	at := slices.IndexFunc(networks, func(n api.Network) bool { return n.Name == c.config.unitName() })
	if at < 0 {
		return "", fmt.Errorf("cannot tell runners of the policy service: there is no network %s", c.config.unitName())
	}
	gateway, err := c.gateway(&networks[at], networks)
	if err != nil {
		return "", err
	}
	return c.config.policyAt(gateway), nil
}

// policyAt is the URL of the policy service on a bridge; "" where there is none.
func (c Config) policyAt(gateway netip.Prefix) string {
	if !c.Policy.isOn() {
		return ""
	}
	return "http://" + netip.AddrPortFrom(gateway.Addr(), c.Policy.Port).String()
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
		MembersOnly:     c.config.MembersOnly,
	}
	if hosts := c.usableDebugHosts(); len(hosts) > 0 {
		machine.DebugHost = &hosts[rand.IntN(len(hosts))]
	}
	return machine
}
