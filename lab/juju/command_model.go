package juju

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Help lists the commands.
func Help(w io.Writer) {
	fmt.Fprint(w, "Juju's commands, as far as the lab has them. All take -m MODEL; those that change\n"+
		"something return when the units are idle, with --no-wait at once.\n\n"+
		"A hook can be run at any time: exec --unit APP/0 -- hooks/update-status\n\n")
	all := commands()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(w, "  %s %s\n", name, all[name].usage)
	}
}

// theModel is the model that the command is for. The lock is held.
func (i *invocation) theModel() (*model, error) {
	name := i.model
	if name == "" {
		name = i.server.state.Current
	}
	// "controller:model" and "admin/model" name models, too.
	name = name[strings.LastIndexAny(name, ":/")+1:]
	if m := i.server.state.Models[name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("model %q not found", name)
}

// locked runs f with the lock held and the command's model.
func (i *invocation) locked(f func(m *model) error) error {
	i.server.mu.Lock()
	defer i.server.mu.Unlock()
	m, err := i.theModel()
	if err != nil {
		return err
	}
	return f(m)
}

// wait waits until the units are settled, unless the operator does not want to.
func (i *invocation) wait(ctx context.Context, units []*unit) error {
	if i.noWait {
		return nil
	}
	return i.server.waitFor(ctx, func() bool {
		return !slices.ContainsFunc(units, func(u *unit) bool { return !i.server.settled(u) })
	})
}

// count checks the number of arguments.
func (i *invocation) count(least, most int, usage string) error {
	if len(i.args) < least || most >= 0 && len(i.args) > most {
		return usagef("expected %s, got %q", usage, i.args)
	}
	return nil
}

var modelName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func cmdAddModel(i *invocation) func(context.Context) error {
	return func(context.Context) error {
		if err := i.count(1, 1, "a model name"); err != nil {
			return err
		}
		name := i.args[0]
		if !modelName.MatchString(name) {
			return fmt.Errorf("%q is not a valid name: model names may only contain lowercase letters, digits and hyphens", name)
		}
		s := i.server
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state.Models[name] != nil {
			return fmt.Errorf("model %q already exists", name)
		}
		s.state.Models[name] = newModel(name)
		s.state.Current = name
		s.update()
		fmt.Fprintf(i.stderr, "Added '%s' model\n", name)
		return nil
	}
}

func cmdSwitch(i *invocation) func(context.Context) error {
	return func(context.Context) error {
		if err := i.count(0, 1, "a model name at most"); err != nil {
			return err
		}
		s := i.server
		if len(i.args) == 1 {
			i.model = i.args[0]
		}
		return i.locked(func(m *model) error {
			if len(i.args) == 0 {
				fmt.Fprintf(i.stdout, "%s:%s\n", controller, m.Name)
				return nil
			}
			fmt.Fprintf(i.stderr, "%s:%s -> %s:%s\n", controller, s.state.Current, controller, m.Name)
			s.state.Current = m.Name
			s.update()
			return nil
		})
	}
}

func cmdModels(i *invocation) func(context.Context) error {
	return func(context.Context) error {
		i.server.mu.Lock()
		defer i.server.mu.Unlock()
		w := tabwriter.NewWriter(i.stdout, 0, 1, 2, ' ', 0)
		fmt.Fprintln(w, "Model\tUUID\tUnits")
		for _, name := range slices.Sorted(maps.Keys(i.server.state.Models)) {
			m := i.server.state.Models[name]
			units := 0
			for _, a := range m.Applications {
				units += len(a.Units)
			}
			if name == i.server.state.Current {
				name += "*"
			}
			fmt.Fprintf(w, "%s\t%s\t%d\n", name, m.UUID, units)
		}
		return w.Flush()
	}
}

func cmdDestroyModel(i *invocation) func(context.Context) error {
	i.flags.Bool("no-prompt", false, "")
	return func(context.Context) error {
		if err := i.count(1, 1, "a model name"); err != nil {
			return err
		}
		i.model = i.args[0]
		return i.locked(func(m *model) error {
			s := i.server
			if len(m.Applications) > 0 {
				return fmt.Errorf("cannot destroy model %q: it has applications: %s", m.Name, strings.Join(slices.Sorted(maps.Keys(m.Applications)), ", "))
			}
			if len(s.state.Models) == 1 {
				return fmt.Errorf("cannot destroy model %q: it is the only one", m.Name)
			}
			delete(s.state.Models, m.Name)
			if s.state.Current == m.Name {
				s.state.Current = slices.Min(slices.Collect(maps.Keys(s.state.Models)))
			}
			s.update()
			return os.RemoveAll(s.path("models", m.Name))
		})
	}
}

// retryOption is whether hooks that failed run again by themselves.
const retryOption = "automatically-retry-hooks"

// modelOptions are the options of a model that mean something here, with their
// defaults.
var modelOptions = map[string]string{
	retryOption:                   "true",
	"ftp-proxy":                   "",
	"http-proxy":                  "",
	"https-proxy":                 "",
	"juju-ftp-proxy":              "",
	"juju-http-proxy":             "",
	"juju-https-proxy":            "",
	"juju-no-proxy":               "127.0.0.1,localhost,::1",
	"logging-config":              "<root>=DEBUG",
	"no-proxy":                    "127.0.0.1,localhost,::1",
	"update-status-hook-interval": "5m",
}

func cmdModelConfig(i *invocation) func(context.Context) error {
	reset := i.flags.String("reset", "", "")
	return func(context.Context) error {
		return i.locked(func(m *model) error {
			changes, key, err := modelChanges(i.args, *reset)
			if err != nil {
				return err
			}
			if key != "" {
				fmt.Fprintln(i.stdout, m.option(key))
				return nil
			}
			if len(changes) == 0 {
				m.printConfig(i)
				return nil
			}
			maps.Copy(m.Config, changes)
			for _, g := range i.server.agents {
				if g.model == m {
					g.nextUpdate = time.Now().Add(m.updateStatusInterval())
					g.nudge()
				}
			}
			i.server.update()
			return nil
		})
	}
}

// modelChanges reads the arguments of model-config: changes, or one key to show.
func modelChanges(args []string, reset string) (changes map[string]string, key string, err error) {
	changes = map[string]string{}
	for name := range strings.SplitSeq(reset, ",") {
		if name != "" {
			changes[name] = modelOptions[name]
		}
	}
	for _, arg := range args {
		name, value, isChange := strings.Cut(arg, "=")
		if _, known := modelOptions[name]; !known {
			return nil, "", fmt.Errorf("key %q not found; the lab's models have: %s", name, strings.Join(slices.Sorted(maps.Keys(modelOptions)), ", "))
		}
		if !isChange {
			if len(args) > 1 {
				return nil, "", usagef("can only retrieve a single value, or all values")
			}
			return nil, name, nil
		}
		if _, err := strconv.ParseBool(value); name == retryOption && err != nil {
			return nil, "", fmt.Errorf("%s: expected bool, got string(%q)", name, value)
		}
		changes[name] = value
	}
	return changes, "", nil
}

func (m *model) option(name string) string {
	if value, set := m.Config[name]; set {
		return value
	}
	return modelOptions[name]
}

func (m *model) printConfig(i *invocation) {
	w := tabwriter.NewWriter(i.stdout, 0, 1, 2, ' ', 0)
	fmt.Fprintln(w, "Attribute\tFrom\tValue")
	for _, name := range slices.Sorted(maps.Keys(modelOptions)) {
		from := "default"
		if _, set := m.Config[name]; set {
			from = "model"
		}
		fmt.Fprintf(w, "%s\t%s\t%q\n", name, from, m.option(name))
	}
	w.Flush()
}
