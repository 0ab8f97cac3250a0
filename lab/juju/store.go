package juju

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// storeCharms are the charms that can be deployed by name alone, as from
// Charmhub: their outside, for others to be related with. They have no code, so
// their units do nothing; what they would write into a relation is written with
// 'juju exec'.
func storeCharms() map[string]charm {
	return map[string]charm{
		"github-runner-image-builder": {
			Name:      "github-runner-image-builder",
			Bases:     []string{"ubuntu@22.04"},
			Endpoints: map[string]endpoint{"image": {Role: roleProvider, Interface: "github_runner_image_v0"}},
		},
		"tmate-ssh-server": {
			Name:      "tmate-ssh-server",
			Bases:     []string{"ubuntu@22.04"},
			Endpoints: map[string]endpoint{"debug-ssh": {Role: roleProvider, Interface: "debug-ssh"}},
		},
	}
}

// isStoreName tells the name of a charm from the path of one.
func isStoreName(arg string) bool {
	return !strings.Contains(arg, "/") && !strings.HasSuffix(arg, ".charm") && arg != "." && arg != ".."
}

func storeCharm(name string) (charm, error) {
	known := storeCharms()
	if c, ok := known[name]; ok {
		return c, nil
	}
	return charm{}, fmt.Errorf("charm or bundle %q not found; the lab has: %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}
