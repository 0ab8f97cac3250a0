package juju

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var errPermission = errors.New("permission denied")

// relationView is what one process sees of a relation, and what it wrote.
type relationView struct {
	relation *relation
	members  []string
	// written are changes of databags, by their owners; they count once the
	// process has exited with 0.
	written map[string]map[string]string
}

// relationViews are those of a unit's relations while a job runs.
func relationViews(m *model, u *unit, j job) map[int]*relationView {
	views := map[int]*relationView{}
	for number, member := range u.Relations {
		r := m.Relations[number]
		if r == nil {
			continue
		}
		members := maps.Clone(member.Members)
		if about := j.hook.Relation; about != nil && about.Number == number && about.Unit != "" {
			members[about.Unit] = about.Version
			if about.Kind == relationDeparted {
				delete(members, about.Unit)
			}
		}
		views[number] = &relationView{relation: r, members: slices.Sorted(maps.Keys(members)), written: map[string]map[string]string{}}
	}
	return views
}

// read is a databag as the process sees it.
func (v *relationView) read(owner string) map[string]string {
	data := map[string]string{}
	if bag := v.relation.Bags[owner]; bag != nil {
		maps.Copy(data, bag.Data)
	}
	for key, value := range v.written[owner] {
		data[key] = value
		if value == "" {
			delete(data, key)
		}
	}
	return data
}

// relationFlag adds the flag -r to a tool; the function that it returns gives the
// relation that is meant, which in a relation hook is the hook's unless told
// otherwise.
func (c *toolCall) relationFlag() func() (*relationView, error) {
	id := c.flags.String("r", "", "")
	c.flags.StringVar(id, "relation", "", "")
	return func() (*relationView, error) {
		if *id == "" {
			if about := c.hc.job.hook.Relation; about != nil && c.hc.relations[about.Number] != nil {
				return c.hc.relations[about.Number], nil
			}
			return nil, usagef("no relation id specified")
		}
		// Juju goes by the number alone.
		number, err := strconv.Atoi((*id)[strings.LastIndex(*id, ":")+1:])
		if err != nil {
			return nil, usagef("invalid value %q for option -r: invalid relation id", *id)
		}
		view := c.hc.relations[number]
		if view == nil {
			return nil, usagef("invalid value %q for option -r: relation not found", *id)
		}
		return view, nil
	}
}

func toolRelationIDs(c *toolCall) func() error {
	c.formatted()
	return func() error {
		endpoint, err := c.one("endpoint name", true)
		if err != nil {
			return err
		}
		if about := c.hc.job.hook.Relation; endpoint == "" && about != nil && c.hc.relations[about.Number] != nil {
			endpoint = c.hc.relations[about.Number].relation.near(c.hc.app.Name).Endpoint
		}
		if endpoint == "" {
			return usagef("no endpoint name specified")
		}
		ids := []string{}
		for _, number := range slices.Sorted(maps.Keys(c.hc.relations)) {
			r := c.hc.relations[number].relation
			if r.near(c.hc.app.Name).Endpoint == endpoint {
				ids = append(ids, r.id(c.hc.app.Name))
			}
		}
		return c.print(ids)
	}
}

func toolRelationList(c *toolCall) func() error {
	c.formatted()
	relation := c.relationFlag()
	app := c.flags.Bool("app", false, "")
	return func() error {
		view, err := relation()
		if err != nil {
			return err
		}
		if len(c.args) > 0 {
			return usagef("unrecognized args: %q", c.args)
		}
		if *app {
			return c.print(view.relation.far(c.hc.app.Name).App)
		}
		return c.print(append([]string{}, view.members...))
	}
}

func toolRelationGet(c *toolCall) func() error {
	c.formatted()
	relation := c.relationFlag()
	app := c.flags.Bool("app", false, "")
	return func() error {
		view, err := relation()
		if err != nil {
			return err
		}
		if len(c.args) > 2 {
			return usagef("unrecognized args: %q", c.args[2:])
		}
		args := append(slices.Clone(c.args), "", "")
		owner, err := c.bagOwner(view.relation, args[1], *app)
		if err != nil {
			return err
		}
		data := view.read(owner)
		if key := args[0]; key != "" && key != "-" {
			if value, set := data[key]; set {
				return c.print(value)
			}
			return c.print(nil)
		}
		return c.print(data)
	}
}

// bagOwner is whose databag relation-get is to read, if this unit may.
func (c *toolCall) bagOwner(r *relation, name string, app bool) (string, error) {
	if name == "" {
		if about := c.hc.job.hook.Relation; about != nil && about.Number == r.Number {
			name = about.Unit
		}
		if name == "" && app {
			name = r.far(c.hc.app.Name).App
		}
	}
	if name == "" {
		return "", usagef("no unit id specified")
	}
	application, _, isUnit := strings.Cut(name, "/")
	if !applicationName.MatchString(application) || !isUnit && !app {
		return "", usagef("invalid value %q: expected a unit name", name)
	}
	far, own := r.far(c.hc.app.Name).App, c.hc.app.Name
	if app {
		if application != far && application != own || application == own && c.hc.app.leader() != c.hc.unit {
			return "", errPermission
		}
		return application, nil
	}
	if name != c.hc.unit.Name && (application != far || r.Bags[name] == nil) {
		return "", errPermission
	}
	return name, nil
}

func toolRelationSet(c *toolCall) func() error {
	relation := c.relationFlag()
	app := c.flags.Bool("app", false, "")
	file := c.flags.String("file", "", "")
	return func() error {
		view, err := relation()
		if err != nil {
			return err
		}
		changes, err := c.settings(*file)
		if err != nil {
			return err
		}
		owner := c.hc.unit.Name
		if *app {
			owner = c.hc.app.Name
			if c.hc.app.leader() != c.hc.unit {
				return fmt.Errorf("cannot write relation settings: %w", errPermission)
			}
		}
		if view.written[owner] == nil {
			view.written[owner] = map[string]string{}
		}
		maps.Copy(view.written[owner], changes)
		return nil
	}
}

// settings are those of relation-set: from a YAML file, then from the arguments.
func (c *toolCall) settings(file string) (map[string]string, error) {
	changes := map[string]string{}
	if file != "" {
		content := []byte(c.input)
		if file != inputFile {
			var err error
			if content, err = os.ReadFile(inDir(c.dir, file)); err != nil {
				return nil, fmt.Errorf("cannot read the settings: %w", err)
			}
		}
		if err := yaml.Unmarshal(content, &changes); err != nil {
			return nil, fmt.Errorf("cannot read the settings from %s: %w", file, err)
		}
	}
	for _, arg := range c.args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usagef("expected \"key=value\", got %q", arg)
		}
		changes[key] = value
	}
	return changes, nil
}

// keepRelations stores what the process wrote into relations. The units that
// will hear of it are returned. The lock is held.
func (hc *hookContext) keepRelations() []*unit {
	var told []*unit
	for _, view := range hc.relations {
		for owner, changes := range view.written {
			view.relation.write(owner, changes)
		}
		if len(view.written) > 0 {
			told = append(told, hc.model.unitsIn(view.relation)...)
		}
	}
	return told
}
