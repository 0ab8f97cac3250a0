package lxd

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// templateVersion is raised when runners that exist should be replaced because
// this package, or their user-data, makes them differently now.
const templateVersion = 2

// jitSize is more than a JIT configuration has, which is three small files.
const jitSize = 8 << 10

// tokenSize is what a token for the policy service has.
const tokenSize = 64

// longestGateway stands for an address that is not known yet.
var longestGateway = netip.MustParsePrefix("255.255.255.255/22")

// Prepare implements runner.Cloud. In the steady state it changes nothing in LXD,
// and puts the unit's nftables table in force again: whoever reloads the machine's
// own rules has removed it.
func (c *Cloud) Prepare(ctx context.Context, want runner.Want) (runner.Template, error) {
	server, cancel, err := c.connect(ctx, createDeadline)
	if err != nil {
		return runner.Template{}, err
	}
	defer cancel()
	c.clearLeftovers(server)
	// What runners may reach is kept up whether or not more can be made: those
	// that exist go on working.
	gateway, warnings, err := c.ensureIsolation(server, want.Count > 0)
	if err != nil {
		return runner.Template{}, err
	}
	template := runner.Template{Want: want, BootDeadline: c.config.bootDeadline(), Warnings: warnings}
	if err := c.checkUserData(template); err != nil {
		return runner.Template{}, err
	}
	template.Image, warnings, err = c.findImage(server, want.Count)
	if err != nil {
		return runner.Template{}, err
	}
	template.Warnings = append(template.Warnings, warnings...)
	if template.Image != "" {
		template.Hash = c.hash(want, template.Image, c.config.policyAt(gateway))
	}
	if want.Count == 0 {
		return template, nil
	}
	warnings, err = c.ensurePool(server, want.Count)
	if err != nil {
		return runner.Template{}, err
	}
	template.Warnings = append(template.Warnings, warnings...)
	template.Warnings = append(template.Warnings, c.checkInotify(want.Count, "/proc")...)
	if err := c.ensureProfile(server); err != nil {
		return runner.Template{}, err
	}
	return template, nil
}

// checkUserData finds out whether the options fit into a runner's user-data,
// before one is registered that could not be made.
func (c *Cloud) checkUserData(template runner.Template) error {
	birth := runner.Birth{Name: c.config.Owner.NewName(), JIT: secret.New(strings.Repeat("x", jitSize))}
	machine := c.machine(template, birth)
	if c.config.Policy.isOn() {
		machine.Policy = &cloudinit.Policy{URL: c.config.policyAt(longestGateway), Token: secret.New(strings.Repeat("x", tokenSize))}
	}
	_, err := cloudinit.UserData(machine)
	var tooLarge cloudinit.TooLargeError
	if errors.As(err, &tooLarge) {
		return runner.Trouble{Advice: "shorten " + tooLarge.Largest, Err: tooLarge}
	}
	return err
}

// ensureIsolation keeps up the unit's bridge and what is closed to it. Where no
// runner is wanted, a bridge that is not there is not made. It returns the machine's
// address on the bridge; the warnings are about what runners were told to use and
// can't reach.
func (c *Cloud) ensureIsolation(server server, create bool) (gateway netip.Prefix, warnings []string, err error) {
	networks, err := server.GetNetworks()
	if err != nil {
		return gateway, nil, cannot(err, "list LXD's networks")
	}
	var network *api.Network
	if at := slices.IndexFunc(networks, func(n api.Network) bool { return n.Name == c.config.unitName() }); at >= 0 {
		network = &networks[at]
	}
	if network == nil && !create {
		return gateway, nil, nil
	}
	if gateway, err = c.gateway(network, networks); err != nil {
		return gateway, nil, err
	}
	b, warnings, err := c.borders(gateway)
	if err != nil {
		return gateway, nil, err
	}
	// Before the bridge: there is no moment in which runners could use one that
	// is open. The table also comes before a repair, in which LXD empties its own.
	if err := c.ensureACL(server, b); err != nil {
		return gateway, nil, err
	}
	if network == nil {
		if err := c.createNetwork(server, gateway); err != nil {
			return gateway, nil, err
		}
	}
	if err := c.ensureGuard(server.ctx, gateway, b); err != nil {
		return gateway, nil, err
	}
	if network != nil {
		return gateway, warnings, c.repairNetwork(server, *network)
	}
	return gateway, warnings, nil
}

func (c *Cloud) checkVirtualMachines(server server) error {
	info, _, err := server.GetServer()
	if err != nil {
		return cannot(err, "ask LXD whether it can run virtual machines")
	}
	if strings.Contains(info.Environment.Driver, "qemu") {
		return nil
	}
	return runner.Trouble{
		Advice: "this machine can't run virtual machines: set lxd-instance-type=container",
		Err:    fmt.Errorf("LXD has the drivers %q and no qemu: KVM, vhost_vsock or QEMU is missing", info.Environment.Driver),
	}
}

// inputs are all that a runner is made from, without what is live (denylist,
// token, number) and what differs from one to the next. Fields are never
// reordered or renamed without raising templateVersion: their JSON is hashed.
type inputs struct {
	Version      int          `json:"version"`
	Scope        runner.Scope `json:"scope"`
	Group        string       `json:"group"`
	Labels       []string     `json:"labels"`
	Image        string       `json:"image"`
	InstanceType string       `json:"instance-type"`
	CPU          int          `json:"cpu"`
	Memory       int64        `json:"memory"`
	Disk         int64        `json:"disk"`
	Pool         string       `json:"pool"`
	Network      string       `json:"network"`
	cloudinit.Inputs
}

// hash identifies the recipe.
func (c *Cloud) hash(want runner.Want, image, policyURL string) string {
	canonical, _ := json.Marshal(inputs{
		Version:      templateVersion,
		Scope:        want.Scope,
		Group:        want.Group,
		Labels:       want.CanonicalLabels(),
		Image:        image,
		InstanceType: c.config.InstanceType,
		CPU:          c.config.CPU,
		Memory:       c.config.Memory,
		Disk:         c.config.Disk,
		Pool:         c.poolName(),
		Network:      c.config.unitName(),
		Inputs:       c.config.Settings.Inputs(policyURL),
	})
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// hash32 spreads a name over numbers.
func hash32(text string) uint32 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint32(sum[:4])
}
