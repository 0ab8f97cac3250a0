package juju

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// maxActionMessage bounds what an action says beside its results.
const maxActionMessage = 8 << 10

// A dot in a key nests: "delta.virtual-machines" arrives as
// {delta: {virtual-machines: …}}.
var actionKey = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// Juju itself sets these results.
var reservedKeys = []string{"return-code", "stdout", "stdout-encoding", "stderr", "stderr-encoding"}

// ActionParams returns the action's parameters, with the defaults that
// actions.yaml declares: string, bool, int64, float64, or maps and slices of
// these.
func (t *Tools) ActionParams(ctx context.Context) (map[string]any, error) {
	params := map[string]any{}
	if err := t.runJSON(ctx, &params, "action-get"); err != nil {
		return nil, err
	}
	if params == nil { // the tool answered null
		return map[string]any{}, nil
	}
	for name, value := range params {
		plain, err := plainValue(value)
		if err != nil {
			return nil, fmt.Errorf("cannot read parameter %q: %w", name, err)
		}
		params[name] = plain
	}
	return params, nil
}

func plainValue(value any) (any, error) {
	var err error
	switch v := value.(type) {
	case json.Number:
		return plainNumber(v)
	case map[string]any:
		for key := range v {
			if v[key], err = plainValue(v[key]); err != nil {
				return nil, err
			}
		}
	case []any:
		for i := range v {
			if v[i], err = plainValue(v[i]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// SetActionResults adds to the results of the running action. Keys are lower
// case letters, digits and hyphens; dots nest. Nothing is set when any key or
// value is refused.
func (t *Tools) SetActionResults(ctx context.Context, results map[string]string) error {
	var args []string
	for _, key := range slices.Sorted(maps.Keys(results)) {
		if !actionKey.MatchString(key) {
			return fmt.Errorf("cannot set result %q: a key has lower case letters, digits and hyphens, and dots between these", key)
		}
		if slices.Contains(reservedKeys, key) {
			return fmt.Errorf("cannot set result %q: Juju sets it itself", key)
		}
		if have := len(results[key]); have > maxArgument {
			return fmt.Errorf("cannot set result %q: its %d bytes are more than %d", key, have, maxArgument)
		}
		args = append(args, key+"="+argument(results[key]))
	}
	for len(args) > 0 {
		n := fitting(args)
		if _, err := t.run(ctx, "action-set", append([]string{"--"}, args[:n]...)...); err != nil {
			return err
		}
		args = args[n:]
	}
	return nil
}

// fitting is how many of args, at least one, go into one process's arguments.
func fitting(args []string) int {
	total := 0
	for i, arg := range args {
		total += len(arg)
		if i > 0 && total > maxArgument {
			return i
		}
	}
	return len(args)
}

// FailAction makes the running action a failed one. Its results stay.
func (t *Tools) FailAction(ctx context.Context, message string) error {
	_, err := t.run(ctx, "action-fail", "--", shorten(argument(message), maxActionMessage))
	return err
}

// ActionLog shows the operator who waits for the running action how far it is.
func (t *Tools) ActionLog(ctx context.Context, message string) error {
	_, err := t.run(ctx, "action-log", "--", shorten(argument(message), maxActionMessage))
	return err
}
