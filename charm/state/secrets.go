package state

import (
	"fmt"
	"regexp"
	"strings"

	"github-runner/charm/secret"
)

// Secret is what came of reading a Juju secret.
type Secret struct {
	Access Access
	// Content are its fields where Access is SecretRead.
	Content map[string]secret.Text
	// Err is why there was no answer where Access is SecretUnanswered.
	Err error
}

// Access is how reading a Juju secret went.
type Access int

// The ways that reading a secret may go.
const (
	// SecretUnanswered: Juju could not tell, which may pass.
	SecretUnanswered Access = iota
	// SecretRead: it could be read.
	SecretRead
	// SecretMissing: there is no such secret.
	SecretMissing
	// SecretDenied: it is not granted to the application.
	SecretDenied
)

// secretURI is the URI of a secret in the ways that Juju writes it, with or
// without the model. Juju makes ids of 20 characters.
var secretURI = regexp.MustCompile(`^(?:secret:)?((?://[0-9a-f-]{36}/)?[0-9a-z]{20})$`)

// SecretIDs returns the URIs of the secrets that a configuration names, in the
// form that Source.Secrets has them in. Values that are no secret's URI are left
// out: they may be anything, the secret itself as well.
func SecretIDs(config map[string]any) []string {
	r := reader{config: config}
	var ids []string
	for _, option := range []string{optionTokenSecret, optionAppKey, optionCloudsSecret} {
		if id, ok := secretID(r.text(option)); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func secretID(value string) (string, bool) {
	match := secretURI.FindStringSubmatch(value)
	if match == nil {
		return "", false
	}
	return "secret:" + match[1], true
}

// secretField returns a field of the secret that an option names, without space
// around it; false where it was rejected.
func (r *reader) secretField(option, field string) (string, bool) {
	value := r.text(option)
	if value == "" {
		return "", false // it is no string, and was rejected as such
	}
	id, ok := secretID(value)
	if !ok {
		r.hidden(option, "give the id that juju add-secret printed, secret: and 20 letters and digits")
		return "", false
	}
	found := r.secrets[id]
	problem := Problem{Option: option, Value: id}
	switch found.Access {
	case SecretRead:
		if value := strings.TrimSpace(found.Content[field].Reveal()); value != "" {
			return value, true
		}
		problem.Fault = "lacks the field " + field
		problem.Right = fmt.Sprintf("run juju update-secret %s %s#file=FILE", id, field)
	case SecretMissing:
		problem.Fault = "does not exist"
		problem.Right = fmt.Sprintf("run juju add-secret NAME %s#file=FILE, set the option to the id that it prints, and grant the secret", field)
	case SecretDenied:
		problem.Fault = "is not granted to the application"
		problem.Right = fmt.Sprintf("run juju grant-secret %s %s", id, r.application)
	default:
		problem.Fault = "could not be read"
		problem.Right = fmt.Sprintf("the next hook tries again: %v", found.Err)
		problem.Passes = true
	}
	r.reject(problem)
	return "", false
}

// invalidField rejects what a secret has in a field, without showing it.
func (r *reader) invalidField(option, field, right string) {
	id, _ := secretID(r.text(option))
	r.reject(Problem{Option: option, Value: id, Fault: "has a " + field + " that is not valid", Right: right})
}
