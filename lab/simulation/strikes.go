package simulation

import (
	"time"

	"github.com/canonical/lxd/shared/api"
)

// strike kills something and checks that the runners that are there stay.
func (l *life) strike(kill func()) {
	before := l.alive()
	kill()
	time.AfterFunc(strikeCheck, func() {
		after := l.alive()
		for name := range before {
			if !after[name] && !l.served(name) {
				l.violate("runner %s, which was online before something was killed, is gone", name)
			}
		}
	})
}

// strikeCheck is after how long the runners must be there still: long enough for
// whatever works again to have looked at them.
const strikeCheck = 40 * time.Second

// alive are the unit's runners that are online and have a machine.
func (l *life) alive() map[string]bool {
	online := map[string]bool{}
	for _, r := range l.world.github.Runners() {
		online[r.Name] = owner.Owns(r.Name) && r.Online && !r.Removed
	}
	alive := map[string]bool{}
	for _, instance := range l.world.daemon().Possessions().Instances {
		if online[instance.Name] && instance.StatusCode == api.Running {
			alive[instance.Name] = true
		}
	}
	return alive
}

// served reports whether a runner ever got a job.
func (l *life) served(name string) bool {
	served := false
	l.world.guests.note(name, func(g *guestLife) { served = len(g.jobs) > 0 })
	return served
}
