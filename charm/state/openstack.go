package state

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github-runner/charm/clouds"
	"github-runner/charm/guest"
	"github-runner/charm/secret"
)

// OpenStack says how runners are had in OpenStack. The zero value is that of a unit
// whose runners are on LXD.
type OpenStack struct {
	// Clouds is a clouds.yaml, whose first cloud is used.
	Clouds secret.Text
	// Flavor, Network and Image each are a name or an ID in the cloud.
	Flavor, Network, Image string
	// ProxyCommand leads to a runner's SSH, as OpenSSH's ProxyCommand does; "": it is
	// reached as any address.
	ProxyCommand string
	// ManagerAddresses are where the unit's connections to its runners come from;
	// none: from the machine's own addresses.
	ManagerAddresses []netip.Prefix
	// PolicyURL is a service that decides whether jobs may run, and PolicyToken what
	// it gives one-time tokens for; both are empty where there is none.
	PolicyURL   string
	PolicyToken secret.Text
}

// OnOpenStack reports whether the runners are on OpenStack, not on LXD.
func (s CharmState) OnOpenStack() bool {
	return !s.OpenStack.Clouds.IsZero()
}

const (
	fieldClouds = "clouds-yaml"
	rightObject = "give its name or ID in OpenStack, one line of at most 255 characters"
	// maxCommand is more than any command for a connection has.
	maxCommand = 4096
)

// openStack reads the options of OpenStack; ok is false where it is not chosen.
func (r *reader) openStack(base string) (openStack OpenStack, ok bool) {
	openStack.Clouds, ok = r.cloudsYAML()
	if !ok {
		r.idleOpenStack()
		return OpenStack{}, false
	}
	openStack.Flavor = r.object(optionFlavor, "openstack flavor list")
	openStack.Network = r.object(optionNetwork, "openstack network list")
	openStack.Image = base
	if r.isSet(optionImage) {
		openStack.Image = r.object(optionImage, "openstack image list")
	}
	openStack.ProxyCommand = r.proxyCommand()
	openStack.ManagerAddresses = r.managerAddresses()
	openStack.PolicyURL, openStack.PolicyToken = r.policy()
	r.integer(optionImageBuildUnit, -1, maxRunners)
	if len(r.list(optionDenylist)) > 0 {
		r.warnings = append(r.warnings, optionDenylist+" has no effect on OpenStack: close the networks that it names to the runners' network there")
	}
	return openStack, true
}

// idleOpenStack looks at the options that say what servers are made of, where no
// OpenStack is given: a file that was empty by mistake must not send the runners to LXD
// without a word. One of spaces alone is no option that was reset.
func (r *reader) idleOpenStack() {
	var set []string
	for _, option := range []string{optionFlavor, optionNetwork, optionImage} {
		if r.isSet(option) {
			set = append(set, option)
		}
	}
	switch {
	case len(set) == 0:
	case r.config[optionClouds] != nil && r.config[optionClouds] != "":
		fault := cloudsFault("")
		r.reject(Problem{Option: optionClouds, Fault: fault.What, Right: fault.Right})
	default:
		r.warnings = append(r.warnings, strings.Join(set, ", ")+" set without "+optionClouds+": the runners are on LXD")
	}
}

// cloudsYAML returns the clouds.yaml, which a secret has rather than the option; false
// where neither is given.
func (r *reader) cloudsYAML() (secret.Text, bool) {
	if r.isSet(optionCloudsSecret) {
		document, ok := r.secretField(optionCloudsSecret, fieldClouds)
		if fault := cloudsFault(document); ok && fault != nil {
			id, _ := secretID(r.text(optionCloudsSecret))
			r.reject(Problem{Option: optionCloudsSecret, Value: id, Fault: "has a " + fieldClouds + " that " + fault.What, Right: fault.Right})
		}
		return secret.New(document), true
	}
	if !r.isSet(optionClouds) {
		return secret.Text{}, false
	}
	// As it is: in YAML space at a line's begin has a meaning.
	document, isText := r.config[optionClouds].(string)
	switch fault := cloudsFault(document); {
	case !isText:
		r.hidden(optionClouds, "it must be a string")
	case fault != nil:
		r.reject(Problem{Option: optionClouds, Fault: fault.What, Right: fault.Right})
	}
	return secret.New(document), true
}

// cloudsFault is what is wrong with a clouds.yaml; nil where it can be used.
func cloudsFault(document string) *clouds.Fault {
	_, err := clouds.Parse(secret.New(document))
	var fault clouds.Fault
	if !errors.As(err, &fault) {
		return nil
	}
	return &fault
}

// object returns the name or ID of something that must be given.
func (r *reader) object(option, lister string) string {
	value := r.text(option)
	if value == "" {
		r.missing(option, "give its name or ID in OpenStack, which '"+lister+"' shows")
		return ""
	}
	if !isLine(value, maxGroup) {
		r.invalid(option, value, rightObject)
		return ""
	}
	return value
}

// proxyCommand is not shown where it is wrong: it may hold a password.
func (r *reader) proxyCommand() string {
	command := r.text(optionProxyCommand)
	if !isProxyCommand(command) {
		r.hidden(optionProxyCommand, fmt.Sprintf("give one line of at most %d characters, with %%h for a runner's address, %%p for the port and %%%% for a percent sign, such as: nc -X connect -x proxy.example.com:3128 %%h %%p", maxCommand))
		return ""
	}
	return command
}

func isProxyCommand(command string) bool {
	return command == "" || isLine(command, maxCommand) && guest.CheckProxyCommand(command) == nil
}

func (r *reader) managerAddresses() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, entry := range r.list(optionManagerAddress) {
		prefix, ok := parsePrefix(entry)
		if !ok {
			r.invalid(optionManagerAddress, entry, "give the addresses that the unit's connections come from, separated by commas, such as 192.0.2.7, 198.51.100.0/24")
			return nil
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// parsePrefix reads an address or a network.
func parsePrefix(text string) (netip.Prefix, bool) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix, err == nil && prefix == prefix.Masked()
}

// policy returns the options of the repo-policy service, which come together.
func (r *reader) policy() (address string, token secret.Text) {
	address, given := r.text(optionPolicyURL), r.text(optionPolicyToken)
	switch {
	case address == "" && given == "":
		return "", secret.Text{}
	case address == "":
		r.reject(Problem{Option: optionPolicyURL, Fault: "is missing", Right: "give the URL of the service that the token is for, or reset repo-policy-compliance-token"})
	case given == "":
		r.reject(Problem{Option: optionPolicyToken, Fault: "is missing", Right: "give the token of the service at the URL, or reset repo-policy-compliance-url"})
	}
	if address != "" && !isPolicyURL(address) {
		r.reject(Problem{Option: optionPolicyURL, Value: quoteURL(address), Fault: "is not valid", Right: "give an http or https URL with a host, without a user name or a query"})
	}
	if given != "" && !isToken(given) {
		r.hidden(optionPolicyToken, "give the token without spaces or line breaks in it")
	}
	return strings.TrimRight(address, "/"), secret.New(given)
}

// isPolicyURL accepts what paths can be put behind.
func isPolicyURL(address string) bool {
	url, ok := parseURL(address, "http", "https")
	return ok && url.User == nil && url.RawQuery == "" && url.Fragment == ""
}

// onLXD refuses and tells of the options that LXD has no use for.
func (r *reader) onLXD() {
	for _, option := range []string{optionPolicyURL, optionPolicyToken} {
		if r.text(option) != "" {
			r.reject(Problem{Option: option, Fault: "is for runners on OpenStack only", Right: "reset it"})
		}
	}
}

// isValid reports whether openStack makes it.
func (o OpenStack) isValid() bool {
	if o.Clouds.IsZero() {
		return o.Flavor+o.Network+o.Image+o.ProxyCommand+o.PolicyURL == "" && len(o.ManagerAddresses) == 0 && o.PolicyToken.IsZero()
	}
	for _, name := range []string{o.Flavor, o.Network, o.Image} {
		if !isLine(name, maxGroup) {
			return false
		}
	}
	for _, prefix := range o.ManagerAddresses {
		if !prefix.IsValid() {
			return false
		}
	}
	policed := o.PolicyURL == "" && o.PolicyToken.IsZero() || isPolicyURL(o.PolicyURL) && isToken(o.PolicyToken.Reveal())
	return policed && cloudsFault(o.Clouds.Reveal()) == nil && isProxyCommand(o.ProxyCommand)
}
