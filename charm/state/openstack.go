package state

import "go.yaml.in/yaml/v3"

const maxClouds = 1 << 20

// openstack reports whether OpenStack is chosen, and checks its options then.
func (r *reader) openstack() bool {
	clouds, _ := r.config[optionClouds].(string)
	if r.text(optionClouds) == "" {
		return false
	}
	r.clouds(clouds)
	for _, option := range []string{optionFlavor, optionNetwork} {
		if value := r.text(option); value != "" && !isLine(value, maxGroup) {
			r.invalid(option, value, "give its name or ID in OpenStack, one line of at most 255 characters")
		}
	}
	r.integer(optionImageBuildUnit, -1, maxRunners)
	r.policy()
	r.reject(Problem{
		Option: optionClouds,
		Fault:  "chooses OpenStack, which is not supported by this build yet",
		Right:  "reset the option to run on LXD",
	})
	return true
}

// clouds checks the shape of a clouds.yaml. It is a secret as a whole, and the
// YAML library's errors quote it.
func (r *reader) clouds(document string) {
	const right = "give a clouds.yaml: a mapping with the key clouds, which maps the name of each cloud to its settings"
	reject := func(fault string) {
		r.reject(Problem{Option: optionClouds, Fault: fault, Right: right})
	}
	if len(document) > maxClouds {
		reject("is longer than 1 MiB")
		return
	}
	var top any
	if err := yaml.Unmarshal([]byte(document), &top); err != nil {
		reject("is not valid YAML")
		return
	}
	sections, ok := top.(map[string]any)
	if !ok {
		reject("is not a mapping")
		return
	}
	named, _ := sections["clouds"].(map[string]any)
	switch {
	case len(named) == 0:
		reject("names no cloud")
	case !allMappings(named):
		reject("has a cloud whose settings are not a mapping")
	case !allMappings(sections):
		reject("has an entry at its top that is not a mapping")
	}
}

func allMappings(values map[string]any) bool {
	for _, value := range values {
		if _, ok := value.(map[string]any); !ok {
			return false
		}
	}
	return true
}

// policy checks the options of the repo-policy service, which come together.
func (r *reader) policy() {
	url, token := r.text(optionPolicyURL), r.text(optionPolicyToken)
	switch {
	case url == "" && token == "":
		return
	case url == "":
		r.reject(Problem{Option: optionPolicyURL, Fault: "is missing", Right: "give the URL of the service that the token is for, or reset repo-policy-compliance-token"})
	case token == "":
		r.reject(Problem{Option: optionPolicyToken, Fault: "is missing", Right: "give the token of the service at the URL, or reset repo-policy-compliance-url"})
	}
	if _, ok := parseURL(url, "http", "https"); url != "" && !ok {
		r.reject(Problem{Option: optionPolicyURL, Value: quoteURL(url), Fault: "is not valid", Right: "give an http or https URL with a host"})
	}
	if token != "" && !isToken(token) {
		r.hidden(optionPolicyToken, "give the token without spaces or line breaks in it")
	}
}

// policyWithoutOpenStack refuses the repo-policy options on LXD, where each
// unit has a service of its own.
func (r *reader) policyWithoutOpenStack() {
	for _, option := range []string{optionPolicyURL, optionPolicyToken} {
		if r.text(option) != "" {
			r.reject(Problem{Option: option, Fault: "is for runners on OpenStack only", Right: "reset it"})
		}
	}
}
