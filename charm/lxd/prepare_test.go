package lxd

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

func hashWant() runner.Want {
	return runner.Want{Count: 2, Scope: runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}, Group: "default", Labels: []string{"self-hosted", "linux", "x64"}}
}

func hashOf(t *testing.T, want runner.Want, change func(*Config)) string {
	t.Helper()
	config := testConfig(t)
	if change != nil {
		change(&config)
	}
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return cloud.hash(want, "f00d", cloud.config.policyAt(netip.MustParsePrefix("10.1.2.1/22")))
}

// A runner that exists is replaced when its hash changes: this one may change
// only together with templateVersion.
func TestHashIsStable(t *testing.T) {
	const golden = "c1c1e9ca6386b4299f733ab4ae78e27ee2432dc8c8159e239c3add8f672fcb8a"
	if got := hashOf(t, hashWant(), nil); got != golden {
		t.Errorf("the template's hash is %s now: every runner would be replaced", got)
	}
}

func TestHashOfWhatIsTheSame(t *testing.T) {
	base := hashOf(t, hashWant(), nil)
	hosts := []cloudinit.DebugHost{{Host: "a", Port: 1}, {Host: "b", Port: 2}}
	withHosts := hashOf(t, hashWant(), func(c *Config) { c.DebugHosts = hosts })
	want := hashWant()
	want.Labels = []string{"X64", "Linux", "self-hosted", "linux"}
	want.Count = 9
	want.Application = runner.Application{Version: "2.0"}
	for name, pair := range map[string][2]string{
		"order and case of labels, count, application": {base, hashOf(t, want, nil)},
		"denylist":             {base, hashOf(t, hashWant(), func(c *Config) { c.Denylist = []netip.Prefix{metadataService} })},
		"order of debug hosts": {withHosts, hashOf(t, hashWant(), func(c *Config) { c.DebugHosts = []cloudinit.DebugHost{hosts[1], hosts[0]} })},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s made another template", name)
		}
	}
}

func TestHashOfWhatDiffers(t *testing.T) {
	seen := map[string]string{hashOf(t, hashWant(), nil): "base"}
	add := func(name, hash string) {
		if other, ok := seen[hash]; ok {
			t.Errorf("%s gives the same template as %s", name, other)
		}
		seen[hash] = name
	}
	for name, change := range map[string]func(*Config){
		"cpu":           func(c *Config) { c.CPU++ },
		"memory":        func(c *Config) { c.Memory++ },
		"disk":          func(c *Config) { c.Disk++ },
		"instance type": func(c *Config) { c.InstanceType = VirtualMachine },
		"storage":       func(c *Config) { c.StorageKind = MemoryStorage },
		"http proxy":    func(c *Config) { c.Proxy.HTTP = secret.New("http://proxy") },
		"other proxy":   func(c *Config) { c.Proxy.HTTP = secret.New("http://other") },
		"https proxy":   func(c *Config) { c.Proxy.HTTPS = secret.New("http://proxy") },
		"no proxy":      func(c *Config) { c.Proxy.NoProxy = "http://proxy" },
		"aproxy":        func(c *Config) { c.Aproxy.Proxy = "proxy:3128" },
		"aproxy ports":  func(c *Config) { c.Aproxy.Ports = []cloudinit.PortRange{{From: 80, To: 80}} },
		"aproxy exclude": func(c *Config) {
			c.Aproxy.Exclude = []cloudinit.AddrRange{{From: metadataService.Addr(), To: metadataService.Addr()}}
		},
		"policy":      func(c *Config) { c.Policy = policyOn(8080) },
		"policy port": func(c *Config) { c.Policy = policyOn(8081) },
		"outsiders":   func(c *Config) { c.MembersOnly = true },
		"mirror":      func(c *Config) { c.DockerMirror = "https://mirror" },
		"debug hosts": func(c *Config) { c.DebugHosts = []cloudinit.DebugHost{{Host: "a"}} },
	} {
		add(name, hashOf(t, hashWant(), change))
	}
	for name, change := range map[string]func(*runner.Want){
		"path":   func(w *runner.Want) { w.Scope.Path = "acme/other" },
		"group":  func(w *runner.Want) { w.Group = "other" },
		"labels": func(w *runner.Want) { w.Labels = append(w.Labels, "gpu") },
	} {
		want := hashWant()
		change(&want)
		add(name, hashOf(t, want, nil))
	}
}

func TestOptionsThatAreTooLargeAreNamed(t *testing.T) {
	config := testConfig(t)
	config.Proxy = cloudinit.Proxy{HTTP: secret.New("http://user:hunter2@proxy")}
	for i := range uint32(4000) {
		config.Proxy.NoProxy += fmt.Sprintf("%x.example.com,", hash32(fmt.Sprint(i)))
	}
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	var trouble runner.Trouble
	if err := cloud.checkUserData(runner.Template{}); !errors.As(err, &trouble) || trouble.Advice != "shorten juju-no-proxy of the model" || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a very long no-proxy: %v", err)
	}
	cloud.config.Proxy.NoProxy = "localhost"
	if err := cloud.checkUserData(runner.Template{}); err != nil {
		t.Error(err)
	}
}

func TestProfilesOfDifferentResourcesAreApart(t *testing.T) {
	names := map[string]bool{}
	for _, cpu := range []int{1, 2} {
		config := testConfig(t)
		config.CPU = cpu
		cloud, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		names[cloud.profileName(false)] = true
		if cloud.profile(false).Config["boot.autostart"] != "false" {
			t.Error("runners come back after the host's restart")
		}
	}
	if len(names) != 2 {
		t.Errorf("profiles %v", names)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"instance type": func(c *Config) { c.InstanceType = "vm" },
		"storage":       func(c *Config) { c.StorageKind = "disk" },
		"folder":        func(c *Config) { c.ExchangeDir = "exchange" },
		"unit":          func(c *Config) { c.Owner.Unit = "" },
	} {
		config := testConfig(t)
		change(&config)
		if _, err := New(config); err == nil {
			t.Errorf("New took a bad %s", name)
		}
	}
}
