package lab

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestOptionsForTheCharm(t *testing.T) {
	const clouds = "clouds:\n  lab: {auth: {password: 'a\"b'}}\n"
	uses := &OpenStack{Flavor: "m1.small", Network: "lab", ProxyCommand: "/lab ssh-guest %h"}
	for cloud, want := range map[string]map[string]string{
		CloudLXD:      {"lxd-instance-type": "container"},
		CloudEmulated: {"lxd-instance-type": "container"},
		CloudOpenStackEmulated: {
			"openstack-clouds-yaml": clouds, "openstack-flavor": "m1.small", "openstack-network": "lab",
			"manager-ssh-proxy-command": "/lab ssh-guest %h",
		},
	} {
		l := &Lab{Dir: t.TempDir(), Cloud: cloud, OpenStack: uses}
		if err := os.WriteFile(l.CloudsPath(), []byte(clouds), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.writeOptions(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(l.OptionsPath())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]map[string]string
		if err := yaml.Unmarshal(content, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]map[string]string{DeployedName: want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", cloud, diff)
		}
		if info, err := os.Stat(l.OptionsPath()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the options of %s are open to others: %v, %v", cloud, info.Mode(), err)
		}
	}
}

func TestOptionsNeedTheCloudsYAML(t *testing.T) {
	l := &Lab{Dir: t.TempDir(), Cloud: CloudOpenStackEmulated, OpenStack: &OpenStack{}}
	if err := l.writeOptions(); err == nil || !strings.Contains(err.Error(), "clouds.yaml") {
		t.Errorf("without a clouds.yaml: %v", err)
	}
}

func TestHookVariables(t *testing.T) {
	for cloud, want := range map[string][]string{
		CloudLXD:               {"GITHUB_RUNNER_ROOT=/x/root", "LXD_DIR=/x/lxd"},
		CloudEmulated:          {"GITHUB_RUNNER_ROOT=/x/root", "LXD_DIR=/x/lxd"},
		CloudOpenStackEmulated: {"GITHUB_RUNNER_ROOT=/x/root"},
	} {
		l := &Lab{Cloud: cloud, Root: "/x/root", LXDDir: "/x/lxd"}
		if diff := cmp.Diff(want, l.HookVariables()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", cloud, diff)
		}
	}
}

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{
		"/home/me/.lab-1/a_b": "/home/me/.lab-1/a_b",
		"/my lab":             "'/my lab'",
		"/it's 100%h":         `'/it'\''s 100%%h'`,
	} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q) is %s, want %s", path, got, want)
		}
	}
}
