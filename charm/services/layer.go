package services

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Names of the services, in Pebble and in what is said about them.
const (
	Agent  = "agent"
	Policy = "repo-policy"
)

// Want says which of its services a unit is to run.
type Want struct {
	Agent  bool
	Policy bool
}

func (w Want) includes(name string) bool {
	return name == Agent && w.Agent || name == Policy && w.Policy
}

// service is what a service is made of.
type service struct {
	name string
	// title is what people call it.
	title string
	// role is what the charm's program is told to be.
	role string
	// backoff is the longest wait before one that ended is started again.
	backoff time.Duration
	// period is how often its health is asked for.
	period time.Duration
}

// all are the services that a unit can have. Jobs wait for the policy service.
func all() []service {
	return []service{
		{name: Agent, title: "resident agent", role: "agent", backoff: 10 * time.Minute, period: 30 * time.Second},
		{name: Policy, title: "policy service", role: "policy", backoff: 15 * time.Second, period: 10 * time.Second},
	}
}

// title is what people call the service of a name.
func title(name string) string {
	for _, s := range all() {
		if s.name == name {
			return s.title
		}
	}
	return name
}

// wasAsked reports whether a service that has run for so long was asked for its health
// since it began. Pebble itself starts one again that does not answer, and what it knows
// of its health until the next check is about the one before.
func wasAsked(name string, ran time.Duration) bool {
	for _, s := range all() {
		if s.name == name {
			return ran > s.period+checkTimeout
		}
	}
	return true
}

const (
	// killDelay is more than a service takes to end.
	killDelay = 10 * time.Second
	// checkTimeout is more than the health command gives a service to answer.
	checkTimeout = 6 * time.Second
	// checkThreshold is how many checks in a row fail before a service is
	// started again.
	checkThreshold = 3
	// searchPath is where services find the system's programs.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
)

// layer is the part of Pebble's configuration that is written here; see
// docs/reference/layer-specification.md in its sources.
type layer struct {
	Summary  string                  `yaml:"summary"`
	Services map[string]layerService `yaml:"services"`
	Checks   map[string]layerCheck   `yaml:"checks"`
}

type layerService struct {
	Override       string            `yaml:"override"`
	Summary        string            `yaml:"summary"`
	Command        string            `yaml:"command"`
	Startup        string            `yaml:"startup"`
	Environment    map[string]string `yaml:"environment"`
	OnCheckFailure map[string]string `yaml:"on-check-failure"`
	BackoffDelay   string            `yaml:"backoff-delay"`
	BackoffFactor  float64           `yaml:"backoff-factor"`
	BackoffLimit   string            `yaml:"backoff-limit"`
	KillDelay      string            `yaml:"kill-delay"`
}

type layerCheck struct {
	Override  string    `yaml:"override"`
	Startup   string    `yaml:"startup"`
	Period    string    `yaml:"period"`
	Timeout   string    `yaml:"timeout"`
	Threshold int       `yaml:"threshold"`
	Exec      layerExec `yaml:"exec"`
}

type layerExec struct {
	Command string `yaml:"command"`
	// ServiceContext lends the command a service's environment.
	ServiceContext string `yaml:"service-context"`
}

// startup are Pebble's words for whether a service or check is to run.
var startup = map[bool]string{true: "enabled", false: "disabled"}

// layer is what Pebble is told. Services that are not wanted are in it, too: it
// is combined with an earlier one, where they may be enabled.
func (u *Unit) layer(want Want) ([]byte, error) {
	l := layer{
		Summary:  "Services of the GitHub runner unit " + u.key,
		Services: map[string]layerService{},
		Checks:   map[string]layerCheck{},
	}
	for _, s := range all() {
		l.Services[s.name] = layerService{
			Override:       "replace",
			Summary:        "The unit's " + s.title,
			Command:        command(u.arguments(s)),
			Startup:        startup[want.includes(s.name)],
			Environment:    u.environment(),
			OnCheckFailure: map[string]string{s.name: "restart"},
			BackoffDelay:   "1s",
			BackoffFactor:  2,
			BackoffLimit:   s.backoff.String(),
			KillDelay:      killDelay.String(),
		}
		l.Checks[s.name] = layerCheck{
			Override:  "replace",
			Startup:   startup[want.includes(s.name)],
			Period:    s.period.String(),
			Timeout:   checkTimeout.String(),
			Threshold: checkThreshold,
			Exec: layerExec{
				Command:        command([]string{u.program, "health", s.name, "--unit", u.key}),
				ServiceContext: s.name,
			},
		}
	}
	data, err := yaml.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("cannot encode Pebble's layer: %w", err)
	}
	return data, nil
}

// arguments are those of a service's process, its program first.
func (u *Unit) arguments(s service) []string {
	return []string{u.program, s.role, "--unit", u.key}
}

// environment is what services have of the hook's: where things are.
func (u *Unit) environment() map[string]string {
	env := map[string]string{
		"PATH": searchPath,
		// The daemon's own way to say that it is ready.
		"NOTIFY_SOCKET": "",
	}
	for name, value := range map[string]string{"GITHUB_RUNNER_ROOT": u.root, "LXD_DIR": u.lxdDir} {
		if value != "" {
			env[name] = value
		}
	}
	return env
}

// command is a command line as Pebble takes it apart: by a shell's rules of
// quoting, without a shell.
func command(args []string) string {
	var quoted []string
	for _, arg := range args {
		if strings.Trim(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") != "" {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted = append(quoted, arg)
	}
	return strings.Join(quoted, " ")
}
