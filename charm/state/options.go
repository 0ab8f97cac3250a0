package state

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The names of all options, as in config.yaml.
const (
	optionPath              = "path"
	optionToken             = "token"
	optionTokenSecret       = "token-secret-id"
	optionAppClient         = "github-app-client-id"
	optionAppInstallation   = "github-app-installation-id"
	optionAppKey            = "github-app-private-key-secret-id"
	optionGroup             = "group"
	optionGitHubURL         = "github-url"
	optionLabels            = "labels"
	optionVirtualMachines   = "virtual-machines"
	optionReconcileInterval = "reconcile-interval"
	optionBaseImage         = "base-image"
	optionImageSource       = "image-source"
	optionImageInterval     = "image-interval"
	optionImagePackages     = "image-packages"
	optionImageScript       = "image-script"
	optionInstanceType      = "lxd-instance-type"
	optionStorage           = "runner-storage"
	optionCPU               = "vm-cpu"
	optionMemory            = "vm-memory"
	optionDisk              = "vm-disk"
	optionDenylist          = "denylist"
	optionDockerhubMirror   = "dockerhub-mirror"
	optionUseAproxy         = "experimental-use-aproxy"
	optionAproxyExclude     = "aproxy-exclude-addresses"
	optionAproxyPorts       = "aproxy-redirect-ports"
	optionClouds            = "openstack-clouds-yaml"
	optionCloudsSecret      = "openstack-clouds-yaml-secret-id"
	optionFlavor            = "openstack-flavor"
	optionNetwork           = "openstack-network"
	optionImage             = "openstack-image"
	optionProxyCommand      = "manager-ssh-proxy-command"
	optionManagerAddress    = "manager-address"
	optionImageBuildUnit    = "experimental-openstack-image-build-unit"
	optionPolicyURL         = "repo-policy-compliance-url"
	optionPolicyToken       = "repo-policy-compliance-token"
	optionTestMode          = "test-mode"
	optionExternal          = "allow-external-contributor"
)

// defaultOf returns the value of an option that is unset. Its type is the type
// of the option: string, int or bool. A test keeps it in step with config.yaml.
func defaultOf(option string) any {
	switch option {
	case optionGroup:
		return "default"
	case optionGitHubURL:
		return "https://github.com"
	case optionAppInstallation:
		// No installation has this number: it is the same as none.
		return 0
	case optionVirtualMachines:
		return 1
	case optionReconcileInterval:
		return 10
	case optionBaseImage:
		return "jammy"
	case optionImageInterval:
		return 7
	case optionInstanceType:
		return string(VirtualMachine)
	case optionStorage:
		return string(JujuStorage)
	case optionCPU:
		return 2
	case optionMemory:
		return "7GiB"
	case optionDisk:
		return "10GiB"
	case optionUseAproxy:
		return false
	case optionExternal:
		return true
	case optionAproxyExclude:
		return "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"
	case optionAproxyPorts:
		return "80, 443"
	case optionImageBuildUnit:
		return -1
	}
	return ""
}

// reader reads options by their types and gathers what is wrong.
type reader struct {
	config      map[string]any
	secrets     map[string]Secret
	application string
	problems    Problems
	warnings    []string
}

func (r *reader) reject(problem Problem) {
	r.problems = append(r.problems, problem)
}

// invalid rejects a value that may be shown.
func (r *reader) invalid(option, value, right string) {
	r.reject(Problem{Option: option, Value: quote(value), Fault: "is not valid", Right: right})
}

// hidden rejects a value that may not be shown.
func (r *reader) hidden(option, right string) {
	r.reject(Problem{Option: option, Fault: "is not valid", Right: right})
}

// missing rejects an option without a value, unless its value was rejected
// before.
func (r *reader) missing(option, right string) {
	if slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Option == option }) {
		return
	}
	r.reject(Problem{Option: option, Fault: "is missing", Right: right})
}

// text returns a string option without space around it. An empty value is the
// same as an unset one: "juju config app option=" can mean nothing else.
func (r *reader) text(option string) string {
	fallback := defaultOf(option).(string)
	value, ok := r.config[option]
	if !ok || value == nil {
		return fallback
	}
	text, ok := value.(string)
	if !ok {
		r.hidden(option, "it must be a string")
		return fallback
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return fallback
	}
	return text
}

// isSet reports whether an option has a value other than nothing and 0, be it of
// the right type or not.
func (r *reader) isSet(option string) bool {
	value := r.config[option]
	if text, ok := value.(string); ok {
		return strings.TrimSpace(text) != ""
	}
	number, ok := asInt(value)
	return value != nil && (!ok || number != 0)
}

// list returns the entries of a string option that are separated by commas,
// without space around them. Unlike other options, one that is set to nothing is
// an empty list, not the default.
func (r *reader) list(option string) []string {
	text := r.text(option)
	if value, ok := r.config[option].(string); ok {
		text = value
	}
	var entries []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// integer returns an int option that must lie between least and most.
func (r *reader) integer(option string, least, most int) int {
	fallback := defaultOf(option).(int)
	value, ok := r.config[option]
	if !ok || value == nil {
		return fallback
	}
	number, ok := asInt(value)
	if !ok || number < int64(least) || number > int64(most) {
		r.invalid(option, fmt.Sprint(value), fmt.Sprintf("give a whole number from %d to %d", least, most))
		return fallback
	}
	return int(number)
}

// asInt takes the shapes that a JSON number may arrive in.
func asInt(value any) (int64, bool) {
	switch number := value.(type) {
	case int:
		return int64(number), true
	case int64:
		return number, true
	case float64:
		// Beyond 2^53 a float64 no longer tells whole numbers apart.
		whole := number == math.Trunc(number) && math.Abs(number) <= 1<<53
		return int64(number), whole
	case json.Number:
		parsed, err := strconv.ParseInt(number.String(), 10, 64)
		return parsed, err == nil
	}
	return 0, false
}

func (r *reader) boolean(option string) bool {
	fallback := defaultOf(option).(bool)
	value, ok := r.config[option]
	if !ok || value == nil {
		return fallback
	}
	flag, ok := value.(bool)
	if !ok {
		r.invalid(option, fmt.Sprint(value), "give true or false")
		return fallback
	}
	return flag
}

// choice returns an option that takes one of a few words.
func choice[T ~string](r *reader, option string, choices ...T) T {
	text := r.text(option)
	var names []string
	for _, c := range choices {
		if text == string(c) {
			return c
		}
		names = append(names, string(c))
	}
	r.invalid(option, text, "give "+strings.Join(names, " or "))
	return T(defaultOf(option).(string))
}
