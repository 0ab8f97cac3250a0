package juju

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func toolGoalState(c *toolCall) func() error {
	c.format = c.flags.String("format", "yaml", "")
	return func() error {
		units := map[string]any{}
		for _, u := range c.hc.app.sortedUnits() {
			shown := u.shown()
			if u.Dying {
				shown.Current = "dying"
			}
			units[u.Name] = map[string]string{"status": shown.Current, "since": shown.Since.UTC().Format("2006-01-02 15:04:05Z")}
		}
		return c.print(map[string]any{"units": units})
	}
}

func toolStorageList(c *toolCall) func() error {
	c.formatted()
	return func() error {
		name, err := c.one("storage name", true)
		if err != nil {
			return err
		}
		ids := []string{}
		for _, id := range slices.Sorted(maps.Keys(c.hc.unit.Storage)) {
			if name == "" || strings.HasPrefix(id, name+"/") {
				ids = append(ids, id)
			}
		}
		return c.print(ids)
	}
}

func toolStorageGet(c *toolCall) func() error {
	c.formatted()
	id := c.flags.String("s", "", "")
	return func() error {
		key, err := c.one("key", true)
		if err != nil {
			return err
		}
		found, ok := c.hc.unit.Storage[*id]
		if !ok {
			return usagef("invalid value %q for option -s: storage %q not found", *id, *id)
		}
		attributes := map[string]string{"kind": found.Kind, "location": found.Location}
		if key == "" {
			return c.print(attributes)
		}
		value, ok := attributes[key]
		if !ok {
			return usagef("invalid storage attribute %q", key)
		}
		return c.print(value)
	}
}

func toolStateGet(c *toolCall) func() error {
	c.formatted()
	strict := c.flags.Bool("strict", false, "")
	return func() error {
		key, err := c.one("key", true)
		if err != nil {
			return err
		}
		if key == "" || key == "-" {
			return c.print(c.hc.state)
		}
		value, ok := c.hc.state[key]
		if !ok && *strict {
			return fmt.Errorf("%q not found", key)
		}
		return c.print(value)
	}
}

func toolStateSet(c *toolCall) func() error {
	return func() error {
		for _, arg := range c.args {
			key, value, ok := strings.Cut(arg, "=")
			if !ok {
				return usagef("expected \"key=value\", got %q", arg)
			}
			c.hc.state[key] = value
		}
		return nil
	}
}

func toolStateDelete(c *toolCall) func() error {
	return func() error {
		key, err := c.one("key", false)
		if err != nil {
			return err
		}
		delete(c.hc.state, key)
		return nil
	}
}

func toolSecretGet(c *toolCall) func() error {
	c.format = c.flags.String("format", "yaml", "")
	label := c.flags.String("label", "", "")
	peek := c.flags.Bool("peek", false, "")
	refresh := c.flags.Bool("refresh", false, "")
	return func() error {
		if len(c.args) == 0 || len(c.args) > 2 || *label != "" {
			return usagef("require a secret URI, and a key at most")
		}
		found, err := c.secret(c.args[0])
		if err != nil {
			return err
		}
		revision := c.hc.secrets[found.ID]
		if revision == 0 || *refresh {
			revision = found.latest()
			c.hc.secrets[found.ID] = revision
		}
		if *peek {
			revision = found.latest()
		}
		content := found.Revisions[revision-1]
		if len(c.args) == 1 {
			return c.print(content)
		}
		value, ok := content[c.args[1]]
		if !ok {
			return fmt.Errorf("secret %q does not contain the key %q", c.args[0], c.args[1])
		}
		return c.print(value)
	}
}

func toolSecretInfoGet(c *toolCall) func() error {
	c.format = c.flags.String("format", "yaml", "")
	return func() error {
		uri, err := c.one("secret URI", false)
		if err != nil {
			return err
		}
		found, err := c.secret(uri)
		if err != nil {
			return err
		}
		return c.print(map[string]any{found.ID: map[string]any{
			"revision": found.latest(), "label": "", "owner": "model", "rotation": "never",
		}})
	}
}

// secret is the secret that a URI names, if the application may read it.
func (c *toolCall) secret(uri string) (*userSecret, error) {
	found := c.hc.model.secretByURI(uri)
	if found == nil {
		return nil, fmt.Errorf("secret %q not found", uri)
	}
	if !slices.Contains(found.Granted, c.hc.app.Name) {
		return nil, errPermission
	}
	return found, nil
}
