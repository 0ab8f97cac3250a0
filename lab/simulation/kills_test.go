package simulation

import (
	"fmt"
	"testing"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/github"
)

// TestKilledAtEveryEffect kills a hook or action before and after each of its
// effects, as they are counted in a life without a kill.
func TestKilledAtEveryEffect(t *testing.T) {
	flush := func(mode string) call {
		return call{kind: juju.KindAction, name: "flush-runners", params: map[string]any{"mode": mode}}
	}
	build := call{kind: juju.KindAction, name: "build-image"}
	set := func(option string, value any) func(*life) {
		return func(l *life) { l.configure(option, value) }
	}
	for name, victim := range map[string]struct {
		call        call
		event       func(*life)
		onOpenStack bool
	}{
		"deployment":      {call: hook("config-changed")},
		"more runners":    {call: hook("config-changed"), event: set("virtual-machines", int64(4))},
		"other resources": {call: hook("config-changed"), event: set("vm-cpu", int64(4))},
		"another path":    {call: hook("config-changed"), event: set("path", "acme/other")},
		"idle flush":      {call: flush("flush-idle"), event: func(l *life) { l.queue(flush("flush-idle")) }},
		"busy flush":      {call: flush("flush-busy"), event: func(l *life) { l.queue(flush("flush-busy")) }},
		"an image":        {call: build, event: func(l *life) { l.queue(build) }},
		"removal":         {call: hook("stop"), event: (*life).remove},

		"deployment on OpenStack":     {call: hook("config-changed"), onOpenStack: true},
		"another flavor on OpenStack": {call: hook("config-changed"), event: set("openstack-flavor", "m1.medium"), onOpenStack: true},
		"another path on OpenStack":   {call: hook("config-changed"), event: set("path", "acme/other"), onOpenStack: true},
		"busy flush on OpenStack":     {call: flush("flush-busy"), event: func(l *life) { l.queue(flush("flush-busy")) }, onOpenStack: true},
		"removal on OpenStack":        {call: hook("stop"), event: (*life).remove, onOpenStack: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := func(kill Kill) Plan {
				p := Plan{Name: fmt.Sprintf("%s, killed: %+v", name, kill), OpenStack: victim.onOpenStack, Calm: 6 * time.Minute, Neighbours: name != "an image", Config: map[string]any{
					"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(2),
				}}
				die := func(l *life) { l.killNext(victim.call.name, kill) }
				if victim.event == nil {
					p.add(0, die, "the deployment will be killed")
					return p
				}
				p.add(time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 3 * time.Minute, Name: "build"}) }, "a job")
				p.add(2*time.Minute, die, "the next call will be killed")
				p.add(2*time.Minute, victim.event, "%s", victim.call)
				return p
			}
			effects := live(t, plan(Kill{})).Effects[victim.call.String()]
			if effects < 5 {
				t.Fatalf("%s has only %d effects", victim.call, effects)
			}
			killed := 0
			for at := 1; at <= effects && !t.Failed(); at += oneIn {
				for _, after := range []bool{false, true} {
					report := live(t, plan(Kill{At: at, After: after}))
					// How often progress is shown is the scheduler's.
					if report.Kills != 1 && at < effects-3 {
						t.Errorf("of %d effects, nothing was killed at number %d", effects, at)
					}
					killed += report.Kills
				}
			}
			t.Logf("%d effects, %d kills", effects, killed)
		})
	}
}
