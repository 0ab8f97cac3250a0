package lxd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// policyOn is a policy service whose tokens are of no use.
func policyOn(port uint16) Policy {
	return Policy{
		Port:     port,
		NewToken: func(runner string) (secret.Text, error) { return secret.New("token-of-" + runner), nil },
		Forget:   func(string) error { return nil },
	}
}

func TestEachRunnerGetsATokenAndTheServicesAddress(t *testing.T) {
	var forgotten []string
	fails := errors.New("the disk is full")
	var failure error
	cloud, server, _ := emulatedCloud(t, func(c *Config) {
		c.Policy = policyOn(8080)
		made := c.Policy.NewToken
		c.Policy.NewToken = func(runner string) (secret.Text, error) {
			token, _ := made(runner)
			return token, failure
		}
		c.Policy.Forget = func(runner string) error {
			forgotten = append(forgotten, runner)
			return nil
		}
		c.MembersOnly = true
	})
	template, err := cloud.Prepare(t.Context(), hashWant())
	if err != nil {
		t.Fatal(err)
	}
	name := cloud.config.Owner.NewName()
	if err := cloud.Create(t.Context(), template, runner.Birth{Name: name}); err != nil {
		t.Fatal(err)
	}
	instance, _, err := server.GetInstance(name)
	if err != nil {
		t.Fatal(err)
	}
	networks, err := server.GetNetworks()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(networks, func(n api.Network) bool { return n.Name == cloud.config.unitName() })
	gateway := networks[at].Config["ipv4.address"]
	address, _, _ := strings.Cut(gateway, "/")
	userData := instance.Config[keyUserData]
	for _, wanted := range []string{"token-of-" + name, cloudinit.ChecksPath, `"policy_url":"http://` + address + `:8080"`, `"members_only":true`} {
		if !strings.Contains(userData, wanted) {
			t.Errorf("the user-data lacks %s:\n%s", wanted, userData)
		}
	}
	if err := cloud.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(forgotten, name) {
		t.Errorf("after its deletion, the tokens of %q are forgotten", forgotten)
	}
	failure, name = fails, cloud.config.Owner.NewName()
	if err := cloud.Create(t.Context(), template, runner.Birth{Name: name}); !errors.Is(err, fails) {
		t.Errorf("a runner without a token: %v", err)
	}
	if err := cloud.Delete(t.Context(), name); err != nil {
		t.Error(err)
	}
}

func TestAPolicyServiceWithoutTokensIsRefused(t *testing.T) {
	config := testConfig(t)
	config.Policy.Port = 8080
	if _, err := New(config); err == nil {
		t.Error("runners would have nothing to ask with")
	}
}
