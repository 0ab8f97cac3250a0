package juju

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// actionSpec is what actions.yaml declares of one action: as much of JSON
// schema as charms use.
type actionSpec struct {
	Description string               `json:"description"`
	Params      map[string]paramSpec `json:"params"`
	Required    []string             `json:"required"`
	// Open: parameters that are not declared are allowed.
	Open bool `json:"open"`
}

type paramSpec struct {
	Type    string `json:"type" yaml:"type"`
	Enum    []any  `json:"enum" yaml:"enum"`
	Default any    `json:"default" yaml:"default"`
}

func newActionSpec(raw map[string]any) (actionSpec, error) {
	content, err := yaml.Marshal(raw)
	if err != nil {
		return actionSpec{}, err
	}
	var declared struct {
		Description string               `yaml:"description"`
		Params      map[string]paramSpec `yaml:"params"`
		Required    []string             `yaml:"required"`
		Additional  bool                 `yaml:"additionalProperties"`
	}
	if err := yaml.Unmarshal(content, &declared); err != nil {
		return actionSpec{}, err
	}
	return actionSpec{
		Description: declared.Description,
		Params:      declared.Params,
		Required:    declared.Required,
		Open:        declared.Additional,
	}, nil
}

// complete checks parameters and adds the declared defaults.
func (s actionSpec) complete(given map[string]any) (map[string]any, error) {
	all := maps.Clone(given)
	if all == nil {
		all = map[string]any{}
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		spec, declared := s.Params[name]
		switch {
		case !declared && !s.Open:
			problems = append(problems, fmt.Errorf("additional property %q is not allowed, given %v", name, all[name]))
		case declared:
			problems = append(problems, spec.check(name, all[name]))
		}
	}
	for _, name := range s.Required {
		if _, given := all[name]; !given {
			problems = append(problems, fmt.Errorf("%q property is missing and required", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("validation failed: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for name, spec := range s.Params {
		if _, set := all[name]; !set && spec.Default != nil {
			all[name] = spec.Default
		}
	}
	return all, nil
}

func (p paramSpec) check(name string, value any) error {
	if p.Type != "" && !slices.Contains(typesOf(value), p.Type) {
		return fmt.Errorf("%q must be of type %s, given %#v", name, p.Type, value)
	}
	same := func(allowed any) bool { return reflect.DeepEqual(allowed, value) }
	if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, same) {
		return fmt.Errorf("%q must match one of %v, given %#v", name, p.Enum, value)
	}
	return nil
}

// typesOf are JSON schema's names for the type of a value from YAML.
func typesOf(value any) []string {
	switch value.(type) {
	case string:
		return []string{"string"}
	case bool:
		return []string{"boolean"}
	case int, int64, uint64:
		return []string{"integer", "number"}
	case float64:
		return []string{"number"}
	case []any:
		return []string{"array"}
	case map[string]any:
		return []string{"object"}
	case nil:
		return []string{"null"}
	default:
		return nil
	}
}

// parseParams reads "key.key=value" arguments of 'juju run'. Values are YAML;
// with asStrings they are taken as they are.
func parseParams(args []string, asStrings bool) (map[string]any, error) {
	params := map[string]any{}
	for _, arg := range args {
		path, text, ok := strings.Cut(arg, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("argument %q must be of the form key.key.key=value", arg)
		}
		var value any = text
		if !asStrings {
			if err := yaml.Unmarshal([]byte(text), &value); err != nil {
				return nil, fmt.Errorf("cannot read argument %q: %w", arg, err)
			}
		}
		if err := nest(params, path, value); err != nil {
			return nil, err
		}
	}
	return params, nil
}

// nest sets the value at a path of keys with dots between them.
func nest(into map[string]any, path string, value any) error {
	key, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		into[key] = value
		return nil
	}
	inner, ok := into[key].(map[string]any)
	if into[key] != nil && !ok {
		return fmt.Errorf("key %q has a value and further keys", key)
	}
	if inner == nil {
		inner = map[string]any{}
		into[key] = inner
	}
	return nest(inner, rest, value)
}

// task is one run of an action or command on one unit.
type task struct {
	ID   int
	Unit string
	// Action is its name; juju-exec for a command.
	Action  string
	Command string
	Params  map[string]any

	Status    string
	Message   string
	Log       []string
	Results   map[string]any
	Code      int
	Enqueued  time.Time
	Begun     time.Time
	Completed time.Time
	// told are the units that may have heard of relation data that it set.
	told []*unit
	// done is closed when the task has ended.
	done chan struct{}
}

// The statuses of a task that has ended.
const (
	taskCompleted = "completed"
	taskFailed    = "failed"
	taskError     = "error"
)

const commandAction = "juju-exec"
