package simulation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github-runner/lab/openstack"
)

// possessions are what the unit has.
type possessions struct {
	instances, registrations, folders, profiles, networks, acls, pools, mounts, files []string
	// groups are its security groups, ports those that have one of them and no server.
	groups, ports []string
	// builders are its machines for images, images those that were made, where it is the
	// only unit on its LXD.
	// Unused are those among them that have no alias.
	builders, images, unused []string
}

// possessions returns what is the unit's in this world.
func (w *world) possessions() possessions {
	all := w.daemon().Possessions()
	network := lxdName
	has := possessions{
		profiles: withPrefix(all.Profiles, network+"-"),
		networks: withPrefix(all.Networks, network),
		acls:     withPrefix(all.ACLs, network),
		pools:    withPrefix(all.Pools, network+"-"),
	}
	for _, one := range w.machines() {
		if one.ours {
			has.instances = append(has.instances, one.name)
		}
	}
	if w.openStack != nil {
		has.inOpenStack(w.openStack.Possessions())
	}
	for _, instance := range all.Instances {
		if instance.Name == lxdName+"-image" {
			has.builders = append(has.builders, instance.Name)
		}
	}
	others := slices.ContainsFunc(all.Networks, func(name string) bool { return name != lxdName && strings.HasPrefix(name, "ghr-") })
	for _, image := range all.Images {
		if others || image.Properties["user.github-runner.recipe"] == "" {
			continue
		}
		has.images = append(has.images, image.Fingerprint)
		if len(image.Aliases) == 0 {
			has.unused = append(has.unused, image.Fingerprint)
		}
	}
	for _, r := range w.github.Runners() {
		if owner.Owns(r.Name) && !r.Removed {
			has.registrations = append(has.registrations, r.Name)
		}
	}
	folder := w.folder()
	has.files = entries(folder)
	has.folders = slices.DeleteFunc(entries(filepath.Join(folder, "exchange")), func(name string) bool {
		return slices.Contains(has.builders, name)
	})
	mounts, err := mountsBelow(w.dir)
	if err != nil {
		mounts = []string{err.Error()}
	}
	has.mounts = withPrefix(mounts, folder)
	return has
}

// inOpenStack adds what the unit has in OpenStack beside its servers.
func (has *possessions) inOpenStack(all openstack.Possessions) {
	groups, servers := map[string]bool{}, map[string]bool{}
	for _, group := range all.Groups {
		if group.Name == owner.Prefix() {
			has.groups = append(has.groups, group.Name)
			groups[group.ID] = true
		}
	}
	for _, server := range all.Servers {
		servers[server.ID] = true
	}
	for _, port := range all.Ports {
		if !servers[port.Server] && slices.ContainsFunc(port.Groups, func(id string) bool { return groups[id] }) {
			has.ports = append(has.ports, port.ID)
		}
	}
}

// leftovers lists what is there of the unit once it was removed.
func (w *world) leftovers() []string {
	has := w.possessions()
	var found []string
	for _, kind := range []struct {
		what  string
		names []string
	}{
		{"instance", has.instances}, {"registration", w.unnamed(has.registrations)}, {"profile", has.profiles},
		{"network", has.networks}, {"network ACL", has.acls}, {"storage pool", has.pools},
		{"security group", has.groups}, {"port", has.ports}, {"mount", has.mounts}, {"file", has.files}, {"machine for images", has.builders}, {"image", has.images},
	} {
		for _, name := range kind.names {
			found = append(found, kind.what+" "+name)
		}
	}
	return found
}

// unnamed are the registrations that the charm did not name as those that GitHub
// holds.
func (w *world) unnamed(registrations []string) []string {
	named := map[string]bool{}
	for line := range strings.Lines(w.story.heard()) {
		if strings.Contains(line, "GitHub still holds the registration; it removes it by itself") {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "runner=")
			named[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(registrations), func(name string) bool { return named[name] })
}

func entries(folder string) []string {
	var names []string
	found, err := os.ReadDir(folder)
	if err != nil && !os.IsNotExist(err) {
		return []string{err.Error()}
	}
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}

func withPrefix(names []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !strings.HasPrefix(name, prefix) })
}
