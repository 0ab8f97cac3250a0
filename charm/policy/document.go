package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// The rules, by their names in a policy document.
const (
	ruleProtection    = "target_branch_protection"
	ruleCollaborators = "collaborators"
	ruleNoFork        = "disallow_fork"
	ruleExecuteJob    = "execute_job"
)

// The events that have rules of their own; all others count as the last one.
const (
	eventPullRequest = "pull_request"
	eventDispatch    = "workflow_dispatch"
	eventPush        = "push"
	eventSchedule    = "schedule"
	eventDefault     = "default"
)

// rulesOf are the rules of an event in the order in which they are looked at.
func rulesOf(event string) []string {
	if event == eventPullRequest {
		return []string{ruleProtection, ruleCollaborators, ruleNoFork, ruleExecuteJob}
	}
	return []string{ruleCollaborators}
}

func events() []string {
	return []string{eventPullRequest, eventDispatch, eventPush, eventSchedule, eventDefault}
}

// Document is what an operator decided about the rules: which are on, by event and
// rule. A document, even an empty one, switches on all that it does not name; nil
// is that there is none.
type Document map[string]map[string]bool

// on reports whether a rule counts. Without a document forks are allowed.
func (d Document) on(event, rule string) bool {
	if d == nil {
		return rule != ruleNoFork
	}
	enabled, named := d[event][rule]
	return enabled || !named
}

// ParseDocument reads a policy document. The error of one that is not valid says
// what is wrong with it.
func ParseDocument(data []byte) (Document, error) {
	var raw map[string]map[string]struct {
		Enabled *bool `json:"enabled"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&raw); err != nil {
		return nil, fmt.Errorf("cannot read the policy: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("cannot read the policy: something follows the JSON object")
	}
	if raw == nil {
		return nil, errors.New("cannot read the policy: it is no JSON object")
	}
	document := Document{}
	for event, rules := range raw {
		if !slices.Contains(events(), event) {
			return nil, fmt.Errorf("cannot read the policy: %q is none of the events %s", event, strings.Join(events(), ", "))
		}
		document[event] = map[string]bool{}
		for rule, set := range rules {
			if !slices.Contains(rulesOf(event), rule) {
				return nil, fmt.Errorf("cannot read the policy: %s has no rule %q, but %s", event, rule, strings.Join(rulesOf(event), ", "))
			}
			if set.Enabled == nil {
				return nil, fmt.Errorf("cannot read the policy: %s of %s lacks enabled, which is true or false", rule, event)
			}
			document[event][rule] = *set.Enabled
		}
	}
	return document, nil
}

// maxDocument bounds a policy document, which has a few hundred bytes.
const maxDocument = 16 << 10

// readDocument returns the policy that was set last; nil when none was. One that
// can't be read is an error: taken for none, it would switch rules off.
func readDocument(path string) (Document, error) {
	data, err := readBounded(path, maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the policy: %w", err)
	}
	return ParseDocument(data)
}
