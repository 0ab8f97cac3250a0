package juju

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

func cmdStorage(i *invocation) func(context.Context) error {
	format := i.flags.String("format", "tabular", "")
	return func(context.Context) error {
		return i.locked(func(m *model) error {
			if *format == "tabular" {
				return i.printStorage(m)
			}
			return encode(i.stdout, *format, map[string]any{"storage": m.storageTree()})
		})
	}
}

func (i *invocation) printStorage(m *model) error {
	all, units := m.storages()
	if len(all) == 0 {
		fmt.Fprintln(i.stderr, "No storage to display.")
		return nil
	}
	w := tabwriter.NewWriter(i.stdout, 0, 1, 2, ' ', 0)
	fmt.Fprintln(w, "Unit\tStorage ID\tType\tPool\tSize\tStatus\tMessage")
	for _, id := range sortedStorages(all, units) {
		st := all[id]
		size := ""
		if st.Size > 0 {
			size = mebibytes(st.Size)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\tlab\t%s\t%s\t\n", units[id], id, st.Kind, size, st.status(units[id]))
	}
	return w.Flush()
}

// mebibytes is a size as Juju prints one.
func mebibytes(size int64) string {
	number, unit := float64(size)/(1<<20), "MiB"
	for _, larger := range []string{"GiB", "TiB"} {
		if number < 1024 {
			break
		}
		number, unit = number/1024, larger
	}
	if number < 10 {
		return fmt.Sprintf("%.1f %s", number, unit)
	}
	return fmt.Sprintf("%.0f %s", number, unit)
}

func (st storage) status(unit string) string {
	switch {
	case unit == "":
		return "detached"
	case st.Detaching:
		return "detaching"
	}
	return "attached"
}

// storageTree has the shape of 'juju storage --format json'.
func (m *model) storageTree() map[string]any {
	all, units := m.storages()
	tree := map[string]any{}
	for id, st := range all {
		entry := map[string]any{
			"kind": st.Kind, "life": "alive", "persistent": true,
			"status": map[string]any{"current": st.status(units[id]), "since": st.Since.Format(time.RFC3339)},
		}
		if unit := units[id]; unit != "" {
			entry["attachments"] = map[string]any{"units": map[string]any{
				unit: map[string]any{"machine": machineID, "location": st.Location, "life": "alive"},
			}}
		}
		tree[id] = entry
	}
	return tree
}

func cmdDetachStorage(i *invocation) func(context.Context) error {
	i.flags.Bool("force", false, "")
	return func(ctx context.Context) error {
		if err := i.count(1, -1, "storage ids"); err != nil {
			return err
		}
		var units []*unit
		err := i.locked(func(m *model) error {
			for _, id := range i.args {
				u, err := i.server.detachStorage(m, id)
				if err != nil {
					return fmt.Errorf("failed to detach %s: %w", id, err)
				}
				fmt.Fprintf(i.stderr, "detaching %s\n", id)
				units = append(units, u)
			}
			i.server.update()
			return nil
		})
		if err != nil {
			return err
		}
		return i.wait(ctx, units)
	}
}

// detachStorage lets a unit know that it loses a storage. The lock is held.
func (s *Server) detachStorage(m *model, id string) (*unit, error) {
	a, u := m.holder(id)
	if u == nil {
		if _, ok := m.Detached[id]; ok {
			return nil, fmt.Errorf("storage %s is not attached", id)
		}
		return nil, fmt.Errorf("storage %q not found", id)
	}
	name, _, _ := strings.Cut(id, "/")
	if least := a.Charm.Storage[name].Min; u.count(name) <= least {
		return nil, fmt.Errorf("removing storage %s would leave unit %s with %d %q, the charm requires at least %d", id, u.Name, u.count(name)-1, name, least)
	}
	st := u.Storage[id]
	if st.Detaching {
		return u, nil
	}
	st.Detaching, st.Since = true, time.Now()
	u.Storage[id] = st
	s.queueStorage(u, id, "detaching")
	return u, nil
}

// count is how many storages of a name a unit has.
func (u *unit) count(name string) int {
	n := 0
	for id := range u.Storage {
		if strings.HasPrefix(id, name+"/") {
			n++
		}
	}
	return n
}

func cmdAttachStorage(i *invocation) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := i.count(2, -1, "a unit name and storage ids"); err != nil {
			return err
		}
		return i.onUnit(ctx, func(m *model, a *application, u *unit) error {
			for _, id := range i.args[1:] {
				if err := i.server.attachStorage(m, a, u, id); err != nil {
					return fmt.Errorf("failed to attach %s to %s: %w", id, u.Name, err)
				}
				fmt.Fprintf(i.stderr, "attaching %s to %s\n", id, u.Name)
			}
			return nil
		})
	}
}

// onUnit does something with the unit that the first argument names, and waits for
// it.
func (i *invocation) onUnit(ctx context.Context, do func(*model, *application, *unit) error) error {
	var found *unit
	err := i.locked(func(m *model) error {
		a, u, err := m.unit(i.args[0])
		if err != nil {
			return err
		}
		if u.Dying {
			return fmt.Errorf("unit %q is not alive", u.Name)
		}
		found = u
		defer i.server.update()
		return do(m, a, u)
	})
	if err != nil {
		return err
	}
	return i.wait(ctx, []*unit{found})
}

// attachStorage gives a unit a storage that was detached. The lock is held.
func (s *Server) attachStorage(m *model, a *application, u *unit, id string) error {
	st, ok := m.Detached[id]
	if !ok {
		if _, holder := m.holder(id); holder != nil {
			return fmt.Errorf("storage %s is attached to unit %s", id, holder.Name)
		}
		return fmt.Errorf("storage %q not found", id)
	}
	name, _, _ := strings.Cut(id, "/")
	if err := a.Charm.hasRoom(u, name, 1); err != nil {
		return err
	}
	delete(m.Detached, id)
	st.Since = time.Now()
	u.Storage[id] = st
	s.queueStorage(u, id, "attached")
	return nil
}

// hasRoom refuses more storages than the charm takes.
func (c charm) hasRoom(u *unit, name string, more int) error {
	spec, ok := c.Storage[name]
	if !ok {
		return fmt.Errorf("charm storage %q not found", name)
	}
	if after := u.count(name) + more; spec.Max >= 0 && after > spec.Max {
		return fmt.Errorf("cannot exceed maximum of %d instances of %q, adding %d brings the total to %d", spec.Max, name, more, after)
	}
	return nil
}

func cmdAddStorage(i *invocation) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := i.count(2, -1, "a unit name and storage directives"); err != nil {
			return err
		}
		return i.onUnit(ctx, func(m *model, a *application, u *unit) error {
			for _, directive := range i.args[1:] {
				name, text, _ := strings.Cut(directive, "=")
				w, err := parseWish(text, 1)
				if err == nil {
					err = a.Charm.hasRoom(u, name, w.count)
				}
				if err != nil {
					return fmt.Errorf("failed to add storage %q to %s: %w", name, u.Name, err)
				}
				i.sayPlain(map[string]wish{name: w})
				for range w.count {
					id := i.server.addStorage(m, a, u, name, w.size)
					fmt.Fprintf(i.stderr, "added storage %s to %s\n", id, u.Name)
				}
			}
			return nil
		})
	}
}

func cmdRemoveStorage(i *invocation) func(context.Context) error {
	i.flags.Bool("force", false, "")
	i.flags.Bool("no-destroy", false, "")
	return func(context.Context) error {
		if err := i.count(1, -1, "storage ids"); err != nil {
			return err
		}
		return i.locked(func(m *model) error {
			defer i.server.update()
			for _, id := range i.args {
				st, ok := m.Detached[id]
				if _, holder := m.holder(id); holder != nil {
					return fmt.Errorf("failed to remove %s: storage is currently attached to unit %s: detach it first", id, holder.Name)
				}
				if !ok {
					return fmt.Errorf("failed to remove %s: storage %q not found", id, id)
				}
				if err := st.destroy(); err != nil {
					return fmt.Errorf("failed to remove %s: %w", id, err)
				}
				delete(m.Detached, id)
				fmt.Fprintf(i.stderr, "removing %s\n", id)
			}
			return nil
		})
	}
}

// sayPlain says of storages with a size that they will not have it.
func (i *invocation) sayPlain(wanted map[string]wish) {
	err := canMount()
	for name, w := range wanted {
		if w.size > 0 && w.count > 0 && err != nil {
			fmt.Fprintf(i.stderr, "storage %s is a plain folder of any size here: %v\n", name, err)
		}
	}
}
