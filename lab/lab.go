// Package lab brings up and takes down the surroundings of the charm on one
// machine: GitHub's stand-in, a Juju model's stand-in and a cloud, which is an
// LXD daemon of the lab's own or an emulation of one, or of an OpenStack.
//
// All of a lab lies in one directory. Several labs run beside each other.
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github-runner/lab/allinone"
)

// Kinds of cloud that a lab can have.
const (
	// CloudLXD is a real LXD daemon that the lab starts for itself.
	CloudLXD = "lxd"
	// CloudEmulated is an emulation of LXD's API: no root, no containers.
	CloudEmulated = "emulated"
	// CloudOpenStackEmulated is an emulation of OpenStack's APIs.
	CloudOpenStackEmulated = "openstack-emulated"
	// CloudOpenStack is a real OpenStack that the lab starts for itself.
	CloudOpenStack = "openstack"
	// CloudAuto takes LXD where it can run and else the emulation.
	CloudAuto = "auto"
)

// ErrNone is the error when a directory holds no lab.
var ErrNone = errors.New("no lab here")

// Lab is what is known of one running lab. It is stored as lab.json in the
// lab's directory.
type Lab struct {
	// Dir is the lab's directory, absolute.
	Dir string `json:"-"`

	// Cloud is CloudLXD, CloudEmulated, CloudOpenStack or CloudOpenStackEmulated.
	Cloud string `json:"cloud"`
	// GitHubURL is the base URL of the GitHub stand-in.
	GitHubURL string `json:"github_url"`
	// LXDDir is what $LXD_DIR has to be: it holds unix.socket. It is missing where
	// the cloud is an OpenStack.
	LXDDir string `json:"lxd_dir"`
	// Root is what $GITHUB_RUNNER_ROOT has to be.
	Root string `json:"root"`
	// Program is the path of the lab program, which the background processes run.
	Program string `json:"program"`
	// Processes run in the background until Down ends them.
	Processes []Process `json:"processes"`

	// Guests are what the servers of a real OpenStack are.
	Guests allinone.Guests `json:"guests,omitempty"`
	// OpenStack is what there is to use in the cloud; nil with LXD.
	OpenStack *OpenStack `json:"openstack,omitempty"`
	// Share is the directory of the lab whose real OpenStack it uses; "": its own.
	Share string `json:"share,omitempty"`
	// ProjectID is the ID of its project there.
	ProjectID string `json:"project_id,omitempty"`

	// Network is what up made on the machine's network; nil when nothing.
	Network *network `json:"network,omitempty"`
}

// Open returns the lab of a directory; ErrNone when there is none.
func Open(dir string) (*Lab, error) {
	absolute, err := resolve(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open lab: %w", err)
	}
	data, err := os.ReadFile(factsPath(absolute))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot open lab %s: %w; 'lab up' starts one", absolute, ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open lab: %w", err)
	}
	l := &Lab{Dir: absolute}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("cannot open lab: cannot read %s: %w", factsPath(absolute), err)
	}
	return l, nil
}

// GitHubSocket is where the GitHub stand-in takes orders.
func (l *Lab) GitHubSocket() string { return filepath.Join(l.Dir, "github.sock") }

// JujuSocket is where the Juju stand-in takes orders.
func (l *Lab) JujuSocket() string { return filepath.Join(l.Dir, "juju.sock") }

// CloudSocket is where an emulated cloud takes orders.
func (l *Lab) CloudSocket() string { return filepath.Join(l.Dir, "cloud.sock") }

// LXDSocket is where LXD's API answers, real or emulated.
func (l *Lab) LXDSocket() string { return filepath.Join(l.LXDDir, "unix.socket") }

// HookVariables are what hooks get beside the variables that Juju gives them.
func (l *Lab) HookVariables() []string {
	variables := []string{"GITHUB_RUNNER_ROOT=" + l.Root}
	if l.OnLXD() {
		variables = append(variables, "LXD_DIR="+l.LXDDir)
	}
	return variables
}

// LogDir holds one log per background process.
func (l *Lab) LogDir() string { return filepath.Join(l.Dir, "logs") }

// resolve returns the path by which the kernel knows a directory, so that its
// mounts can be told by it. The directory may be missing.
func resolve(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(absolute)
	if !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	parent, err := resolve(filepath.Dir(absolute))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(absolute)), nil
}

func factsPath(dir string) string { return filepath.Join(dir, "lab.json") }

// save stores the facts, so that Down finds them even if this process is
// killed in the next moment.
func (l *Lab) save() error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot store the lab's facts: %w", err)
	}
	if err := writeFile(factsPath(l.Dir), append(data, '\n')); err != nil {
		return fmt.Errorf("cannot store the lab's facts: %w", err)
	}
	return nil
}

// writeFile replaces a file in one step.
func writeFile(path string, data []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}
