package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github-runner/lab/image"
	"github-runner/lab/project"
)

// OpenStack is what a charm and the lab's commands use in an OpenStack beside its
// clouds.yaml. All are names or IDs.
type OpenStack struct {
	Flavor  string `json:"flavor"`
	Network string `json:"network"`
	// Image is what the lab's own servers are made of.
	Image string `json:"image"`
	// ProxyCommand connects to a server's SSH, as OpenSSH's option of that name
	// does; "": the machine reaches it.
	ProxyCommand string `json:"proxy_command,omitempty"`
}

// OnLXD reports whether the lab's cloud is an LXD, real or emulated.
func (l *Lab) OnLXD() bool { return l.Cloud == CloudLXD || l.Cloud == CloudEmulated }

// Emulated reports whether the lab's cloud is an emulation, which has faults.
func (l *Lab) Emulated() bool {
	return l.Cloud == CloudEmulated || l.Cloud == CloudOpenStackEmulated
}

// CloudsPath is where the clouds.yaml of an OpenStack is.
func (l *Lab) CloudsPath() string { return filepath.Join(l.Dir, "clouds.yaml") }

// Project opens the project of the lab's OpenStack.
func (l *Lab) Project(ctx context.Context) (*project.Project, error) {
	content, err := os.ReadFile(l.CloudsPath())
	if err != nil {
		return nil, fmt.Errorf("cannot reach the lab's OpenStack: %w", err)
	}
	return project.Open(ctx, content)
}

// OptionsPath is where a file for "juju deploy --config" has what the charm needs to be
// told of the lab's cloud.
func (l *Lab) OptionsPath() string { return filepath.Join(l.Dir, "options.yaml") }

// DeployedName is the application that the options are for.
const DeployedName = "github-runner"

// writeOptions writes the options that a charm needs for the lab's cloud. There are
// secrets among them.
func (l *Lab) writeOptions() error {
	options := map[string]string{"lxd-instance-type": "container"}
	if !l.OnLXD() {
		content, err := os.ReadFile(l.CloudsPath())
		if err != nil {
			return fmt.Errorf("cannot tell the options for the lab's cloud: %w", err)
		}
		options = map[string]string{
			"openstack-clouds-yaml": string(content),
			"openstack-flavor":      l.OpenStack.Flavor,
			"openstack-network":     l.OpenStack.Network,
		}
		if l.OpenStack.ProxyCommand != "" {
			options["manager-ssh-proxy-command"] = l.OpenStack.ProxyCommand
		}
	}
	data, err := yaml.Marshal(map[string]any{DeployedName: options})
	if err == nil {
		err = os.WriteFile(l.OptionsPath(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot tell the options for the lab's cloud: %w", err)
	}
	return nil
}

// startOpenStackEmulated starts an emulation of OpenStack, which writes its
// clouds.yaml before it is ready.
func (l *Lab) startOpenStackEmulated(ctx context.Context, _ image.Builder, step func(string)) error {
	l.OpenStack = &OpenStack{
		Flavor: "m1.small", Network: "lab", Image: "noble",
		ProxyCommand: SSHCommand(l.Program, l.Dir),
	}
	step("starting the emulation of OpenStack")
	address, err := freeAddress(loopback)
	if err != nil {
		return err
	}
	if err := l.start(ctx, l.server("serve-openstack", "--listen", address)); err != nil {
		return err
	}
	return l.startStandIn(ctx, step)
}

// SSHCommand is a ProxyCommand that leads to the guests of an emulated OpenStack, by
// the lab's program and the directory that the emulation serves.
func SSHCommand(program, dir string) string {
	return quote(program) + " --dir " + quote(dir) + " ssh-guest %h"
}

// plainPath is a path that is one word for a shell as it is.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._-]+$`)

// quote makes a path one word of a proxy command.
func quote(path string) string {
	if plainPath.MatchString(path) {
		return path
	}
	return "'" + strings.NewReplacer("'", `'\''`, "%", "%%").Replace(path) + "'"
}
