package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github-runner/lab"
	"github-runner/lab/skip"
)

// everyEnv, set to "every", has TestRealOpenStack play all sessions that run on a real
// OpenStack, which takes its time, and not only those that are tagged for it.
const everyEnv = "ACCEPTANCE_OPENSTACK"

// sharedEnv is the directory of a lab that is up, whose OpenStack is played on instead
// of one that comes and goes with the test.
const sharedEnv = "ACCEPTANCE_OPENSTACK_LAB"

// A real OpenStack with guests that the lab lets live in its servers. All sessions
// share it: each has a project.
func TestRealOpenStack(t *testing.T) {
	tag := openstackRealTag
	if os.Getenv(everyEnv) == "every" {
		tag = openstackTag
	}
	files := sessions(t, func(file string) bool { return isTagged(t, file, tag) || isTagged(t, file, openstackRealTag) })
	run(t, stage{cloud: lab.CloudOpenStack, share: realOpenStack(t), labs: make(chan struct{}, sharingLabs)}, files)
}

// realOpenStack brings up a real OpenStack, unless one is up for it, sees to it that it
// goes again, and returns its lab's directory.
func realOpenStack(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(sharedEnv); dir != "" {
		return dir
	}
	root, err := os.MkdirTemp("", "acc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(root, "lab")
	s := stage{bin: binDir(t)}
	out, err := s.run(dir, "up", "--cloud", lab.CloudOpenStack)
	if err != nil && strings.Contains(out, openstackObstacle) {
		skip.Because(t, "a real OpenStack can't run here: %s", out)
	}
	t.Cleanup(func() { s.strike(t, dir) })
	if err != nil {
		t.Fatalf("cannot bring up an OpenStack: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return dir
}

// openstackObstacle is how 'lab up' begins when this machine can't run an OpenStack.
const openstackObstacle = "cannot start a lab on a real OpenStack: "
