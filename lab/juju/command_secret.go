package juju

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// content reads the key=value arguments of a secret's command.
func (i *invocation) content(args []string) (map[string]string, error) {
	return parseSecret(args, func(path string) (string, error) {
		content, err := os.ReadFile(inDir(i.dir, path))
		if err != nil {
			return "", fmt.Errorf("cannot read the secret's value: %w", err)
		}
		return string(content), nil
	})
}

func cmdAddSecret(i *invocation) func(context.Context) error {
	i.flags.String("info", "", "")
	return func(context.Context) error {
		if err := i.count(2, -1, "a name and key values"); err != nil {
			return err
		}
		content, err := i.content(i.args[1:])
		if err != nil {
			return err
		}
		return i.locked(func(m *model) error {
			name := i.args[0]
			if _, err := m.secretByName(name); err == nil {
				return fmt.Errorf("secret with name %q already exists", name)
			}
			s := &userSecret{ID: newSecretID(), Name: name, Revisions: []map[string]string{content}}
			m.Secrets[s.ID] = s
			i.server.update()
			fmt.Fprintf(i.stdout, "secret:%s\n", s.ID)
			return nil
		})
	}
}

func cmdUpdateSecret(i *invocation) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := i.count(2, -1, "a name and key values"); err != nil {
			return err
		}
		content, err := i.content(i.args[1:])
		if err != nil {
			return err
		}
		var units []*unit
		err = i.locked(func(m *model) error {
			s, err := m.secretByName(i.args[0])
			if err != nil {
				return err
			}
			s.Revisions = append(s.Revisions, content)
			units = i.server.secretChanged(m, s)
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

// secretChanged tells the units that follow a secret. The lock is held.
func (s *Server) secretChanged(m *model, changed *userSecret) []*unit {
	var told []*unit
	for _, name := range changed.Granted {
		a := m.Applications[name]
		if a == nil {
			continue
		}
		for _, u := range a.sortedUnits() {
			if u.Secrets[changed.ID] != 0 && !u.Dying {
				s.queue(u, newOperation("secret-changed", "JUJU_SECRET_ID=secret:"+changed.ID, "JUJU_SECRET_LABEL="))
				told = append(told, u)
			}
		}
	}
	return told
}

func cmdGrantSecret(i *invocation) func(context.Context) error {
	return i.granting(func(s *userSecret, app string) {
		if !slices.Contains(s.Granted, app) {
			s.Granted = append(s.Granted, app)
		}
	})
}

func cmdRevokeSecret(i *invocation) func(context.Context) error {
	return i.granting(func(s *userSecret, app string) {
		s.Granted = slices.DeleteFunc(s.Granted, func(granted string) bool { return granted == app })
	})
}

func (i *invocation) granting(change func(s *userSecret, app string)) func(context.Context) error {
	return func(context.Context) error {
		if err := i.count(2, 2, "a name and application names"); err != nil {
			return err
		}
		return i.locked(func(m *model) error {
			s, err := m.secretByName(i.args[0])
			if err != nil {
				return err
			}
			apps := strings.Split(i.args[1], ",")
			for _, app := range apps {
				if _, err := m.application(app); err != nil {
					return err
				}
			}
			for _, app := range apps {
				change(s, app)
			}
			i.server.update()
			return nil
		})
	}
}

func cmdRemoveSecret(i *invocation) func(context.Context) error {
	return func(context.Context) error {
		if err := i.count(1, 1, "a name"); err != nil {
			return err
		}
		return i.locked(func(m *model) error {
			s, err := m.secretByName(i.args[0])
			if err != nil {
				return err
			}
			delete(m.Secrets, s.ID)
			i.server.update()
			return nil
		})
	}
}
