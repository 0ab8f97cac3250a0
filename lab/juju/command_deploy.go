package juju

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

var applicationName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*$`)

// deployment are the flags of deploy.
type deployment struct {
	config, storage list
	units           int
	base            string
}

func cmdDeploy(i *invocation) func(context.Context) error {
	var d deployment
	i.flags.Var(&d.config, "config", "")
	i.flags.Var(&d.storage, "storage", "")
	i.flags.IntVar(&d.units, "n", 1, "")
	i.flags.IntVar(&d.units, "num-units", 1, "")
	i.flags.StringVar(&d.base, "base", "", "")
	i.flags.Bool("trust", false, "")
	i.flags.String("to", "", "")
	i.flags.String("constraints", "", "")
	return func(ctx context.Context) error {
		if err := i.count(1, 2, "a .charm file and, if wanted, an application name"); err != nil {
			return err
		}
		a, err := i.newApplication(d)
		if err != nil {
			return err
		}
		wanted, err := a.Charm.wantedStorage(d.storage)
		if err != nil {
			return err
		}
		i.sayPlain(wanted)
		var made []*unit
		err = i.locked(func(m *model) error {
			made, err = i.server.deploy(m, a, d.units, wanted)
			return err
		})
		if err != nil {
			return err
		}
		if a.File == "" {
			fmt.Fprintf(i.stderr, "Deployed %q from charm-hub charm %q, revision %d in channel latest/stable on %s\n", a.Name, a.Charm.Name, a.Revision, a.Base)
		} else {
			fmt.Fprintf(i.stderr, "Located local charm %q, revision %d\nDeploying %q from local charm %q, revision %d on %s\n",
				a.Charm.Name, a.Revision, a.Name, a.Charm.Name, a.Revision, a.Base)
		}
		return i.wait(ctx, made)
	}
}

// newApplication makes the application that the arguments of deploy name,
// without units.
func (i *invocation) newApplication(d deployment) (*application, error) {
	file, c, err := i.findCharm(i.args[0])
	if err != nil {
		return nil, err
	}
	a := &application{Name: c.Name, Charm: c, File: file, Base: c.Bases[len(c.Bases)-1], Units: map[int]*unit{}}
	if len(i.args) == 2 {
		a.Name = i.args[1]
	}
	if !applicationName.MatchString(a.Name) {
		return nil, fmt.Errorf("invalid application name %q", a.Name)
	}
	if d.base != "" {
		a.Base = strings.TrimSuffix(d.base, "/stable")
	}
	if !slices.Contains(c.Bases, a.Base) {
		return nil, fmt.Errorf("base %q is not supported by the charm, supported bases are: %s", a.Base, strings.Join(c.Bases, ", "))
	}
	a.Settings, err = i.settings(c, a.Name, d.config)
	return a, err
}

// findCharm finds a .charm file, or a charm by its name, which has no file.
func (i *invocation) findCharm(arg string) (file string, c charm, err error) {
	if isStoreName(arg) {
		c, err = storeCharm(arg)
		return "", c, err
	}
	return i.server.takeCharm(inDir(i.dir, arg))
}

// deploy adds an application to the model. The lock is held.
func (s *Server) deploy(m *model, a *application, units int, wanted map[string]wish) ([]*unit, error) {
	if m.Applications[a.Name] != nil {
		return nil, fmt.Errorf("cannot add application %q: application already exists", a.Name)
	}
	if units < 0 {
		return nil, fmt.Errorf("--num-units must be a positive integer")
	}
	m.Applications[a.Name] = a
	m.addPeers(a)
	defer s.update()
	return s.addUnits(m, a, units, wanted), nil
}

func (s *Server) addUnits(m *model, a *application, units int, wanted map[string]wish) []*unit {
	var made []*unit
	for range units {
		made = append(made, s.addUnit(m, a, wanted))
	}
	return made
}

// settings reads --config: "key=value", "key=@file", or the name of a YAML file
// with the application's settings.
func (i *invocation) settings(c charm, app string, config list) (map[string]any, error) {
	settings := map[string]any{}
	var pairs []string
	for _, arg := range config {
		if strings.Contains(arg, "=") {
			pairs = append(pairs, arg)
			continue
		}
		fromFile, err := c.settingsFile(inDir(i.dir, arg), app)
		if err != nil {
			return nil, err
		}
		maps.Copy(settings, fromFile)
	}
	parsed, err := c.parseSettings(pairs, i.dir)
	maps.Copy(settings, parsed)
	return settings, err
}

// settingsFile reads a YAML file whose key app has settings.
func (c charm) settingsFile(path, app string) (map[string]any, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read settings: %w", err)
	}
	var document map[string]map[string]any
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("cannot read settings from %s: %w", path, err)
	}
	own, found := document[app]
	if !found {
		return nil, fmt.Errorf("no settings found for %q", app)
	}
	settings := map[string]any{}
	for name, value := range own {
		o, ok := c.Options[name]
		if !ok {
			return nil, fmt.Errorf("unknown option %q", name)
		}
		if settings[name], err = o.fit(name, value); err != nil {
			return nil, err
		}
	}
	return settings, nil
}

func cmdAddUnit(i *invocation) func(context.Context) error {
	units := 1
	i.flags.IntVar(&units, "n", 1, "")
	i.flags.IntVar(&units, "num-units", 1, "")
	i.flags.String("to", "", "")
	return func(ctx context.Context) error {
		if err := i.count(1, 1, "an application name"); err != nil {
			return err
		}
		var made []*unit
		err := i.locked(func(m *model) error {
			a, err := m.application(i.args[0])
			if err != nil {
				return err
			}
			if a.Dying {
				return fmt.Errorf("cannot add unit: application %q is not alive", a.Name)
			}
			wanted, err := a.Charm.wantedStorage(nil)
			if err != nil {
				return err
			}
			// A new unit gets what the first ones got.
			for _, u := range a.sortedUnits()[:min(1, len(a.Units))] {
				clear(wanted)
				for id := range u.Storage {
					name, _, _ := strings.Cut(id, "/")
					wanted[name] = wish{wanted[name].count + 1, u.Storage[id].Size}
				}
			}
			defer i.server.update()
			made = i.server.addUnits(m, a, units, wanted)
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, made)
	}
}

func cmdRefresh(i *invocation) func(context.Context) error {
	path := i.flags.String("path", "", "")
	var config list
	i.flags.Var(&config, "config", "")
	return func(ctx context.Context) error {
		if err := i.count(1, 1, "an application name"); err != nil {
			return err
		}
		if *path == "" {
			return errors.New("cannot refresh a local charm without --path")
		}
		file, c, err := i.server.takeCharm(inDir(i.dir, *path))
		if err != nil {
			return err
		}
		settings, err := i.settings(c, i.args[0], config)
		if err != nil {
			return err
		}
		var units []*unit
		err = i.locked(func(m *model) error {
			a, err := m.application(i.args[0])
			if err != nil {
				return err
			}
			if a.File == "" {
				return fmt.Errorf("cannot refresh %q: its charm is not a local one", a.Name)
			}
			if a.Charm.Name != c.Name {
				return fmt.Errorf("cannot refresh %q: the charm's name is %q, not %q", a.Name, c.Name, a.Charm.Name)
			}
			i.server.refresh(m, a, c, file, settings)
			units = a.sortedUnits()
			fmt.Fprintf(i.stderr, "Added local charm %q, revision %d, to the model\n", c.Name, a.Revision)
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

// refresh replaces an application's charm. The lock is held.
func (s *Server) refresh(m *model, a *application, c charm, file string, settings map[string]any) {
	a.Charm, a.File = c, file
	a.Revision++
	maps.Copy(a.Settings, settings)
	for name := range a.Settings {
		if o, known := c.Options[name]; !known {
			delete(a.Settings, name)
		} else if _, err := o.fit(name, a.Settings[name]); err != nil {
			delete(a.Settings, name)
		}
	}
	m.addPeers(a)
	for _, u := range a.sortedUnits() {
		if u.Dying {
			continue
		}
		upgrade := newOperation("upgrade-charm")
		upgrade.Unpack = true
		if u.Failed != "" {
			// Juju lets a new charm heal a hook that failed: it is replaced
			// before the hook is tried again.
			u.Pending[0].Unpack = true
		}
		s.queue(u, upgrade, newOperation("config-changed"))
		s.retry(u)
	}
	s.update()
}
