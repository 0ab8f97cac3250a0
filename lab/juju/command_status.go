package juju

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	cloudName  = "lab"
	regionName = "here"
)

func cmdStatus(i *invocation) func(context.Context) error {
	format := i.flags.String("format", "tabular", "")
	relations := i.flags.Bool("relations", false, "")
	i.flags.Bool("storage", false, "")
	i.flags.Bool("utc", false, "")
	return func(context.Context) error {
		return i.locked(func(m *model) error {
			if *format == "tabular" {
				return m.printStatus(i.stdout, i.args, *relations)
			}
			return encode(i.stdout, *format, m.statusTree(i.args))
		})
	}
}

// severity orders workload statuses: an application shows its units' worst.
var severity = []string{"error", "blocked", "waiting", "maintenance", "active", "unknown"}

// status is that of an application, from its units.
func (a *application) status() status {
	worst := status{Current: "unknown"}
	for _, u := range a.sortedUnits() {
		shown := u.shown()
		if worst.Since.IsZero() || slices.Index(severity, shown.Current) < slices.Index(severity, worst.Current) {
			worst = shown
		}
	}
	return worst
}

// selected are the applications and units that the arguments of status name.
func (m *model) selected(args []string) []*application {
	var found []*application
	for _, name := range slices.Sorted(maps.Keys(m.Applications)) {
		named := func(arg string) bool {
			app, _, _ := strings.Cut(arg, "/")
			return app == name
		}
		if len(args) == 0 || slices.ContainsFunc(args, named) {
			found = append(found, m.Applications[name])
		}
	}
	return found
}

func unitSelected(args []string, u *unit) bool {
	app, _, _ := strings.Cut(u.Name, "/")
	return len(args) == 0 || slices.Contains(args, u.Name) || slices.Contains(args, app)
}

func (m *model) printStatus(out io.Writer, args []string, relations bool) error {
	apps := m.selected(args)
	w := tabwriter.NewWriter(out, 0, 1, 2, ' ', 0)
	fmt.Fprintln(w, "Model\tController\tCloud/Region\tVersion\tTimestamp")
	fmt.Fprintf(w, "%s\t%s\t%s/%s\t%s\t%s\n", m.Name, controller, cloudName, regionName, Version, time.Now().Format("15:04:05Z07:00"))
	if len(apps) == 0 {
		fmt.Fprintf(w, "\nModel %q is empty.\n", "admin/"+m.Name)
		return w.Flush()
	}
	w.Flush()
	fmt.Fprintln(w, "\nApp\tVersion\tStatus\tScale\tCharm\tChannel\tRev\tExposed\tMessage")
	for _, a := range apps {
		s := a.status()
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t\t%d\tno\t%s\n", a.Name, a.Version, s.Current, len(a.Units), a.Charm.Name, a.Revision, s.Message)
	}
	w.Flush()
	fmt.Fprintln(w, "\nUnit\tWorkload\tAgent\tMachine\tPublic address\tPorts\tMessage")
	for _, a := range apps {
		for _, u := range a.sortedUnits() {
			if !unitSelected(args, u) {
				continue
			}
			name, s := u.Name, u.shown()
			if a.leader() == u {
				name += "*"
			}
			message := s.Message
			if doing := u.doing(); doing != "" {
				message = strings.TrimSpace(fmt.Sprintf("(%s) %s", doing, message))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\t%s\n", name, s.Current, u.Agent.Current, machineID, machineAddress, message)
		}
	}
	w.Flush()
	fmt.Fprintln(w, "\nMachine\tState\tAddress\tInst id\tBase\tAZ\tMessage")
	fmt.Fprintf(w, "%s\tstarted\t%s\tmanual:\t%s\t\tthis machine\n", machineID, machineAddress, apps[0].Base)
	w.Flush()
	if relations {
		m.printRelations(w, apps)
	}
	return w.Flush()
}

// printRelations adds the relations of applications to the tables.
func (m *model) printRelations(w io.Writer, apps []*application) {
	fmt.Fprintln(w, "\nIntegration provider\tRequirer\tInterface\tType\tMessage")
	for _, number := range slices.Sorted(maps.Keys(m.Relations)) {
		r := m.Relations[number]
		if !slices.ContainsFunc(apps, func(a *application) bool { return r.has(a.Name) }) {
			continue
		}
		kind, message := "regular", ""
		if r.isPeer() {
			kind = rolePeer
		}
		if r.Dying {
			message = "dying"
		}
		requirer, provider := r.Ends[0], r.Ends[len(r.Ends)-1]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", provider, requirer, provider.Interface, kind, message)
	}
}

// doing is the name of the hook or action that runs.
func (u *unit) doing() string {
	doing := strings.TrimPrefix(u.Agent.Message, "running ")
	return strings.TrimPrefix(strings.TrimSuffix(doing, " hook"), "action ")
}

// statusTree has the shape of 'juju status --format json'.
func (m *model) statusTree(args []string) map[string]any {
	apps := map[string]map[string]any{}
	for _, a := range m.selected(args) {
		apps[a.Name] = a.statusTree(args)
		if relations := m.relationsTree(a); len(relations) > 0 {
			apps[a.Name]["relations"] = relations
		}
	}
	return map[string]any{
		"model": map[string]any{
			"name": m.Name, "type": "iaas", "controller": controller, "cloud": cloudName, "region": regionName,
			"version": Version, "model-status": map[string]any{"current": "available"}, "model-uuid": m.UUID,
		},
		"machines": map[string]any{machineID: map[string]any{
			"juju-status": map[string]any{"current": "started", "version": Version},
			"dns-name":    machineAddress, "ip-addresses": []string{machineAddress}, "instance-id": "manual:",
		}},
		"applications": apps,
		"storage":      m.storageTree(),
		"controller":   map[string]any{"timestamp": time.Now().Format("15:04:05Z07:00")},
	}
}

// relationsTree has an application's relations by its endpoints.
func (m *model) relationsTree(a *application) map[string][]map[string]string {
	tree := map[string][]map[string]string{}
	for _, r := range m.relationsOf(a.Name) {
		near, far := r.near(a.Name), r.far(a.Name)
		tree[near.Endpoint] = append(tree[near.Endpoint], map[string]string{
			"related-application": far.App, "interface": far.Interface, "scope": "global",
		})
	}
	return tree
}

func (a *application) statusTree(args []string) map[string]any {
	units := map[string]any{}
	for _, u := range a.sortedUnits() {
		if !unitSelected(args, u) {
			continue
		}
		agent := u.Agent.tree()
		agent["version"] = Version
		unit := map[string]any{
			"workload-status": u.shown().tree(),
			"juju-status":     agent,
			"machine":         machineID,
			"public-address":  machineAddress,
		}
		if a.leader() == u {
			unit["leader"] = true
		}
		units[u.Name] = unit
	}
	name, channel, _ := strings.Cut(a.Base, "@")
	charm, origin := fmt.Sprintf("local:%s-%d", a.Charm.Name, a.Revision), "local"
	if a.File == "" {
		charm, origin = a.Charm.Name, "charmhub"
	}
	tree := map[string]any{
		"charm": charm, "charm-origin": origin, "charm-name": a.Charm.Name,
		"charm-rev": a.Revision, "exposed": false, "base": map[string]any{"name": name, "channel": channel},
		"application-status": a.status().tree(), "units": units,
	}
	if a.Version != "" {
		tree["version"] = a.Version
	}
	return tree
}

func (s status) tree() map[string]any {
	tree := map[string]any{"current": s.Current}
	if s.Message != "" {
		tree["message"] = s.Message
	}
	if !s.Since.IsZero() {
		tree["since"] = s.Since.Format("02 Jan 2006 15:04:05Z07:00")
	}
	return tree
}
