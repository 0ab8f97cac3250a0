package openstack

import (
	"errors"
	"strings"
	"testing"

	"github-runner/charm/guest"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

func isTrouble(err error, trouble *runner.Trouble) bool { return errors.As(err, trouble) }

func TestNewRefuses(t *testing.T) {
	good := Config{
		Owner: mine, Keys: keys(t), Flavor: "m1.small", Image: "noble", Network: "lab", Log: silence(),
		Clouds: secret.New("clouds: {x: {auth: {auth_url: 'http://k', username: a, password: hunter2, project_name: p}}}"),
	}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"the unit has no name":         func(c *Config) { c.Owner.Unit = "" },
		"set the option openstack-fla": func(c *Config) { c.Flavor = "" },
		"set the option openstack-ima": func(c *Config) { c.Image = "" },
		"set the option openstack-net": func(c *Config) { c.Network = "" },
		"the unit has no SSH keys":     func(c *Config) { c.Keys = guest.Keys{} },
		"the policy service has no":    func(c *Config) { c.Policy.URL = "https://policy.example.com" },
		"cannot name runners":          func(c *Config) { c.Owner.Unit = strings.Repeat("x", 60) + "/0" },
		"openstack-clouds-yaml: has a": func(c *Config) { c.Clouds = secret.New("clouds: {x: {auth: {password: hunter2}}}") },
	} {
		config := good
		change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
