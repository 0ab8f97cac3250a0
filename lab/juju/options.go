package juju

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// fit makes a value from a YAML or JSON document one of the option's type: nil,
// string, bool, int64 or float64.
func (o option) fit(name string, value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		if o.Type == "string" || o.Type == "secret" {
			return v, nil
		}
	case bool:
		if o.Type == "boolean" {
			return v, nil
		}
	case int:
		return o.fit(name, int64(v))
	case int64:
		switch o.Type {
		case "int":
			return v, nil
		case "float":
			return float64(v), nil
		}
	case float64:
		switch {
		case o.Type == "float":
			return v, nil
		case o.Type == "int" && v == math.Trunc(v) && math.Abs(v) < 1<<53:
			return int64(v), nil
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return o.fit(name, n)
		}
		if f, err := v.Float64(); err == nil {
			return o.fit(name, f)
		}
	}
	return nil, fmt.Errorf("option %q expected %s, got %#v", name, o.Type, value)
}

// parse makes a value from the text of "key=text".
func (o option) parse(name, text string) (any, error) {
	var value any
	var err error
	switch o.Type {
	case "string":
		return text, nil
	case "secret":
		if text != "" && !strings.HasPrefix(text, "secret:") {
			return nil, fmt.Errorf("option %q expected a secret URI, got %q", name, text)
		}
		return text, nil
	case "int":
		value, err = strconv.ParseInt(text, 10, 64)
	case "float":
		value, err = strconv.ParseFloat(text, 64)
	case "boolean":
		value, err = strconv.ParseBool(text)
	default:
		return nil, fmt.Errorf("option %q has unknown type %q", name, o.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("option %q expected %s, got %q", name, o.Type, text)
	}
	return value, nil
}

// parseSettings reads "key=value" and "key=@file" arguments against the charm's
// options. Files are looked up from dir.
func (c charm) parseSettings(args []string, dir string) (map[string]any, error) {
	settings := map[string]any{}
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("expected \"key=value\", got %q", arg)
		}
		o, ok := c.Options[name]
		if !ok {
			return nil, fmt.Errorf("unknown option %q", name)
		}
		if file, isFile := strings.CutPrefix(text, "@"); isFile {
			content, err := os.ReadFile(inDir(dir, file))
			if err != nil {
				return nil, fmt.Errorf("cannot read option %q from its file: %w", name, err)
			}
			text = string(content)
		}
		value, err := o.parse(name, text)
		if err != nil {
			return nil, err
		}
		settings[name] = value
	}
	return settings, nil
}

// inDir is the path that the user of a command in dir means.
func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// effective are the options' values with the defaults filled in; those without
// a value are absent.
func (a *application) effective() map[string]any {
	values := map[string]any{}
	for name, o := range a.Charm.Options {
		value, set := a.Settings[name]
		if !set {
			value = o.Default
		}
		if value != nil {
			values[name] = value
		}
	}
	return values
}
