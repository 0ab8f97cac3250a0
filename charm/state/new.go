package state

import (
	"regexp"
	"slices"
	"time"

	"github-runner/charm/pattern"
	"github-runner/charm/runner"
)

// Source is what the hook tools and the machine gave, as it came.
type Source struct {
	// Config is the answer of config-get, decoded from JSON. Unset options are
	// absent or nil; unknown ones are ignored.
	Config map[string]any
	// Secrets are the Juju secrets that SecretIDs says are named in Config.
	Secrets map[string]Secret
	// Proxies are the values of JUJU_CHARM_HTTP_PROXY, JUJU_CHARM_HTTPS_PROXY
	// and JUJU_CHARM_NO_PROXY.
	Proxies Proxies
	// Machine is the name of the machine's architecture, as the kernel, Debian
	// or Go give it.
	Machine string
	// ModelUUID and Unit say whose state it is.
	ModelUUID string
	Unit      string
	// DebugSSH is the data of the debug-ssh relation's remote units, by name
	// of the unit.
	DebugSSH map[string]map[string]string
	// Image is the data of the image relation's remote units, by name of the unit;
	// nil where the unit is in no such relation.
	Image map[string]map[string]string
	// Warnings are what was wrong, but no reason to stop, while all this was
	// read: one line each.
	Warnings []string
}

// Limits on numbers. GitHub allows that many runners in one group; a week
// without a look would be no safety net any more.
const (
	maxRunners  = 10_000
	maxInterval = 7 * 24 * 60
	maxCPU      = 1024
)

// New makes the state, or returns Problems with everything that is wrong.
func New(source Source) (CharmState, error) {
	r := &reader{
		config:      source.Config,
		secrets:     source.Secrets,
		application: applicationOf(runner.Owner{Unit: source.Unit}),
		warnings:    slices.Clone(source.Warnings),
	}
	s := CharmState{
		Owner: r.owner(source),
		Arch:  r.arch(source.Machine),
	}
	s.GitHubURL, s.Scope.API = r.server()
	s.Scope.Path = r.path()
	s.Credential = r.credential()
	s.Group = r.group(s.Scope)
	s.ReconcileInterval = time.Duration(r.integer(optionReconcileInterval, 1, maxInterval)) * time.Minute
	s.Count = r.integer(optionVirtualMachines, 0, maxRunners)
	s.Denylist = r.denylist()
	s.DockerhubMirror = r.dockerhubMirror()
	given := source.Proxies.trimmed()
	s.Proxies = r.proxies(given)
	s.Aproxy = r.aproxy(given, s.Proxies)
	s.DebugHosts = r.debugHosts(source.DebugSSH)
	s.MembersOnly = !r.boolean(optionExternal)
	r.testMode()
	configured := r.labels()

	s.BaseImage = r.baseImage()
	var onOpenStack bool
	if s.OpenStack, onOpenStack = r.openStack(s.BaseImage); !onOpenStack {
		r.onLXD()
		s.ImageSource = r.imageSource(s.BaseImage)
		s.InstanceType = choice(r, optionInstanceType, VirtualMachine, Container)
		s.Storage = choice(r, optionStorage, JujuStorage, MemoryStorage)
		s.Resources = r.resources()
	}
	s.ImageLife = time.Duration(r.integer(optionImageInterval, 0, maxImageInterval)) * 24 * time.Hour
	s.ImagePackages = r.imagePackages()
	s.ImageScript = r.imageScript()
	var tags []string
	s.ImageRelation, tags = r.imageRelation(source.Image, len(configured))
	r.warnOfCredentials(s)
	s.Labels = allLabels(s, configured, tags)
	s.Warnings = r.warnings
	if len(r.problems) > 0 {
		return CharmState{}, r.problems
	}
	return s, nil
}

// Juju's own rules for names, checked because names of instances are made from
// them.
var (
	unitName  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*/(0|[1-9][0-9]{0,8})$`)
	modelUUID = pattern.Between(8, 64, `^[0-9A-Fa-f-]+$`)
)

func (r *reader) owner(source Source) runner.Owner {
	owner := runner.Owner{ModelUUID: source.ModelUUID, Unit: source.Unit}
	if !modelUUID.Matches(owner.ModelUUID) {
		r.invalid("JUJU_MODEL_UUID", owner.ModelUUID, "Juju sets it for every hook; run the charm under Juju")
	}
	if !unitName.MatchString(owner.Unit) {
		r.invalid("JUJU_UNIT_NAME", owner.Unit, "Juju sets it for every hook, such as github-runner/0; run the charm under Juju")
		return owner
	}
	if err := owner.Check(); err != nil {
		r.reject(Problem{Option: "application name", Value: quote(applicationOf(owner)), Fault: "is too long", Right: err.Error()})
	}
	return owner
}

// arch knows the names that Linux, Debian and Go have for one architecture.
func (r *reader) arch(machine string) Arch {
	switch machine {
	case "x86_64", "amd64":
		return AMD64
	case "aarch64", "arm64":
		return ARM64
	}
	r.invalid("architecture of the machine", machine, "deploy to a machine with amd64 or arm64: juju deploy --constraints arch=amd64")
	return ""
}

// testMode checks the option that guarded test builds of this charm's
// predecessor. It has no effect: containers are had by lxd-instance-type.
func (r *reader) testMode() {
	if value := r.text(optionTestMode); value != "" && value != "insecure" {
		r.invalid(optionTestMode, value, "leave it unset; for containers set lxd-instance-type=container")
	}
}

// maxToken is generous: GitHub says that tokens stay under 255 characters.
const maxToken = 1024

// isToken reports whether value can travel in an HTTP header as it is.
func isToken(value string) bool {
	if value == "" || len(value) > maxToken {
		return false
	}
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
