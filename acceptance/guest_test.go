//go:build openstack

package acceptance

import (
	"strings"
	"testing"

	"github-runner/lab"
	"github-runner/lab/allinone"
	"github-runner/lab/skip"
)

// guestTag: the session also runs on a real OpenStack whose servers boot.
const guestTag = "[guest]"

// A real OpenStack with servers that QEMU runs, and that boot from what the unit tells
// them: the one place where the user-data for OpenStack is executed, and where SSH leads
// into a machine.
func TestGuest(t *testing.T) {
	on := stage{cloud: lab.CloudOpenStack, guests: allinone.QEMU, labs: make(chan struct{}, 1)}
	asked := stage{bin: binDir(t)}
	if out, err := asked.run(t.TempDir(), "up", "--dry-run", "--cloud", on.cloud, "--guests", string(on.guests)); err != nil {
		if strings.Contains(out, openstackObstacle) {
			skip.Because(t, "an OpenStack whose servers boot can't run here: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	run(t, on, sessions(t, func(file string) bool { return isTagged(t, file, guestTag) }))
}
