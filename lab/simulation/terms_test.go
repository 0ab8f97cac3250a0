package simulation

import (
	"fmt"
	"testing"
	"time"

	"github-runner/charm/juju"
	"github-runner/lab/github"
	"github-runner/lab/lxd"
)

// TestAskedToEndAtEachMoment sends SIGTERM to a hook at each moment of its work,
// with a daemon that is well and with one that hangs.
func TestAskedToEndAtEachMoment(t *testing.T) {
	const step = oneIn * 700 * time.Millisecond
	for name, trouble := range map[string]func(*life){
		"well":        func(*life) {},
		"LXD hangs":   func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.StartHangs}, 3*time.Minute) },
		"LXD is slow": func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.SlowAnswers, For: 20 * time.Second}, 3*time.Minute) },
		"GitHub is slow": func(l *life) {
			l.troubleGitHub(github.Fault{Kind: github.FaultDelay, Delay: 20 * time.Second}, 3*time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			for after := 300 * time.Millisecond; after < 10*time.Second; after += step {
				p := Plan{Name: fmt.Sprintf("%s, SIGTERM after %v", name, after), Calm: 8 * time.Minute, Config: map[string]any{
					"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(1),
				}}
				p.add(2*time.Minute, trouble, "%s", name)
				p.add(2*time.Minute, func(l *life) { l.configure("virtual-machines", int64(3)) }, "3 runners")
				p.add(2*time.Minute+after, func(l *life) { l.unit.end(false) }, "SIGTERM")
				p.add(4*time.Minute, func(l *life) { l.queue(call{kind: juju.KindAction, name: "flush-runners"}) }, "flush")
				p.add(4*time.Minute+after, func(l *life) { l.unit.end(false) }, "SIGTERM")
				asked += live(t, p).Asked
			}
			if asked == 0 {
				t.Error("no hook was asked to end")
			}
		})
	}
}
