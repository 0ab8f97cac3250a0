package openstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// templateVersion is raised when runners that exist should be replaced because
// this package, or their user-data, makes them differently now.
const templateVersion = 1

const (
	// jitSize is more than a JIT configuration has, which is three small files.
	jitSize = 8 << 10
	// tokenSize is more than a token for the policy service has.
	tokenSize = 256
)

// Prepare implements runner.Cloud. In the steady state it makes four or five
// calls, which change nothing: flavor, image (that of the unit, and where there is none
// the stock image), network and security group. Once an hour there is one more, for
// ports.
func (c *Cloud) Prepare(ctx context.Context, want runner.Want) (runner.Template, error) {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := c.session.open(ctx)
	if err != nil {
		return runner.Template{}, err
	}
	c.clearLeftovers(ctx, in)
	template := runner.Template{Want: want, BootDeadline: bootDeadline}
	if want.Count == 0 {
		// Runners that still work stay closed to others.
		group, err := c.ensureGroup(ctx, in, false)
		if err == nil {
			c.sweepPorts(ctx, in, group)
		}
		return template, err
	}
	if err := c.checkUserData(template); err != nil {
		return runner.Template{}, err
	}
	if err := checkScope(want.Scope); err != nil {
		return runner.Template{}, err
	}
	found, err := c.ground.renew(ctx, func(ctx context.Context) (ground, error) { return c.lay(ctx, in) })
	if err != nil {
		return runner.Template{}, err
	}
	c.sweepPorts(ctx, in, found.group)
	template.Image, template.Warnings = found.image, found.warnings
	template.Hash = c.hash(want, found)
	return template, nil
}

// lay finds, or makes, all that servers are made of.
func (c *Cloud) lay(ctx context.Context, in services) (ground, error) {
	found, err := c.find(ctx, in)
	if err != nil {
		return ground{}, err
	}
	found.group, err = c.ensureGroup(ctx, in, true)
	return found, err
}

// checkUserData finds out whether the options fit into a runner's user-data,
// before one is registered that could not be made.
func (c *Cloud) checkUserData(template runner.Template) error {
	birth := runner.Birth{Name: c.config.Owner.NewName(), JIT: filler(jitSize)}
	_, err := c.userData(template, birth, filler(tokenSize))
	var tooLarge cloudinit.TooLargeError
	if errors.As(err, &tooLarge) {
		return runner.Trouble{Advice: "shorten " + tooLarge.Largest, Err: tooLarge}
	}
	return err
}

// filler is a secret of some length, which can be compressed as little as a real one.
func filler(length int) secret.Text {
	source := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, length)
	for i := range text {
		text[i] = base64Digits[source.IntN(len(base64Digits))]
	}
	return secret.New(string(text))
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// userData renders a runner's user-data; token is for the policy service.
func (c *Cloud) userData(template runner.Template, birth runner.Birth, token secret.Text) ([]byte, error) {
	private, public, err := c.config.Keys.HostKey(birth.Name)
	if err != nil {
		return nil, err
	}
	machine := cloudinit.Machine{
		Name:           birth.Name,
		JIT:            birth.JIT,
		Application:    cloudinit.Application{URL: template.Want.Application.URL, SHA256: template.Want.Application.SHA256},
		PowerOffDelay:  powerOffDelay,
		OnlineDeadline: bootDeadline + watchdogMargin,
		Proxy:          c.config.Proxy,
		Aproxy:         c.config.Aproxy,
		DockerMirror:   c.config.DockerMirror,
		MembersOnly:    c.config.MembersOnly,
		SSH:            &cloudinit.SSH{AuthorizedKey: c.config.Keys.AuthorizedKey(), HostKey: private, HostPublicKey: public},
	}
	if hosts := c.config.DebugHosts; len(hosts) > 0 {
		machine.DebugHost = &hosts[rand.IntN(len(hosts))]
	}
	if c.config.Policy.isOn() {
		machine.Policy = &cloudinit.Policy{URL: c.config.Policy.URL, Token: token}
	}
	return cloudinit.UserData(machine)
}

// inputs are all that a runner is made from, without what is live (security group,
// number) and what differs from one to the next. Fields are never reordered or
// renamed without raising templateVersion: their JSON is hashed.
type inputs struct {
	Version int          `json:"version"`
	Scope   runner.Scope `json:"scope"`
	Group   string       `json:"group"`
	Labels  []string     `json:"labels"`
	Image   string       `json:"image"`
	Flavor  string       `json:"flavor"`
	Network string       `json:"network"`
	Key     string       `json:"key"`
	cloudinit.Inputs
}

// hash identifies the recipe.
func (c *Cloud) hash(want runner.Want, found ground) string {
	canonical, _ := json.Marshal(inputs{
		Version: templateVersion,
		Scope:   want.Scope,
		Group:   want.Group,
		Labels:  want.CanonicalLabels(),
		Image:   found.image,
		Flavor:  found.flavor,
		Network: found.network,
		Key:     c.config.Keys.AuthorizedKey(),
		Inputs:  c.config.Settings.Inputs(c.config.Policy.URL),
	})
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}
