package juju

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

func cmdConfig(i *invocation) func(context.Context) error {
	reset := i.flags.String("reset", "", "")
	file := i.flags.String("file", "", "")
	format := i.flags.String("format", "yaml", "")
	return func(ctx context.Context) error {
		if err := i.count(1, -1, "an application name"); err != nil {
			return err
		}
		args := i.args[1:]
		if len(args) == 0 && *reset == "" && *file == "" {
			return i.showConfig("", *format)
		}
		if len(args) == 1 && !strings.Contains(args[0], "=") {
			return i.showConfig(args[0], *format)
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			a, err := m.application(i.args[0])
			if err != nil {
				return err
			}
			changes, err := i.changes(a, args, *file)
			if err != nil {
				return err
			}
			drops, err := a.Charm.drops(*reset)
			if err != nil {
				return err
			}
			if i.server.configure(a, changes, drops) {
				units = a.sortedUnits()
			}
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

func (i *invocation) changes(a *application, args []string, file string) (map[string]any, error) {
	changes := map[string]any{}
	if file != "" {
		var err error
		if changes, err = a.Charm.settingsFile(inDir(i.dir, file), a.Name); err != nil {
			return nil, err
		}
	}
	parsed, err := a.Charm.parseSettings(args, i.dir)
	if err != nil {
		return nil, err
	}
	maps.Copy(changes, parsed)
	return changes, nil
}

// drops are the options that --reset names.
func (c charm) drops(reset string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(reset, ",") {
		if name == "" {
			continue
		}
		if _, known := c.Options[name]; !known {
			return nil, fmt.Errorf("unknown option %q", name)
		}
		names = append(names, name)
	}
	return names, nil
}

// configure changes settings; units hear of it when a value has changed. The
// lock is held.
func (s *Server) configure(a *application, changes map[string]any, drops []string) bool {
	before := a.effective()
	maps.Copy(a.Settings, changes)
	for _, name := range drops {
		delete(a.Settings, name)
	}
	defer s.update()
	if reflect.DeepEqual(before, a.effective()) {
		return false
	}
	s.configChanged(a)
	return true
}

func (i *invocation) showConfig(key, format string) error {
	return i.locked(func(m *model) error {
		a, err := m.application(i.args[0])
		if err != nil {
			return err
		}
		if key != "" {
			if _, known := a.Charm.Options[key]; !known {
				return fmt.Errorf("key %q not found in %q application config or charm settings", key, a.Name)
			}
			if value := a.effective()[key]; value != nil {
				fmt.Fprintln(i.stdout, value)
			}
			return nil
		}
		settings := map[string]any{}
		values := a.effective()
		for name, o := range a.Charm.Options {
			entry := map[string]any{"type": o.Type, "description": o.Description, "source": "default"}
			if o.Default != nil {
				entry["default"] = o.Default
			}
			if value := values[name]; value != nil {
				entry["value"] = value
			}
			if _, set := a.Settings[name]; set {
				entry["source"] = "user"
			} else if o.Default == nil {
				entry["source"] = "unset"
			}
			settings[name] = entry
		}
		return encode(i.stdout, format, map[string]any{"application": a.Name, "charm": a.Charm.Name, "settings": settings})
	})
}

// encode prints a value as JSON or YAML.
func encode(w io.Writer, format string, value any) error {
	switch format {
	case "json":
		return json.NewEncoder(w).Encode(value)
	case "yaml":
		encoder := yaml.NewEncoder(w)
		encoder.SetIndent(2)
		return encoder.Encode(value)
	default:
		return usagef("unknown format %q", format)
	}
}
