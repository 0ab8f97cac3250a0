package simulation

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/github"
	"github-runner/lab/lxd"
)

// hanging are the faults that leave an operation which ends only with LXD.
var hanging = map[lxd.Kind]bool{
	lxd.CreateHangs: true, lxd.StartHangs: true, lxd.StopHangs: true, lxd.DeleteHangs: true, lxd.ExecHangs: true,
	lxd.PublishHangs: true,
}

// troubleLXD lets LXD go wrong for a time.
func (l *life) troubleLXD(fault lxd.Fault, length time.Duration) {
	server := l.world.daemon()
	made, err := server.AddFault(fault)
	if err != nil {
		l.violate("the simulation itself failed: %v", err)
		return
	}
	if hanging[fault.Kind] {
		l.hangs.Store(true)
	}
	l.trouble(length, string(fault.Kind), func() { server.ClearFaults(idOf(made)) })
}

// troubleGitHub lets GitHub go wrong for a time.
func (l *life) troubleGitHub(fault github.Fault, length time.Duration) {
	made, err := l.world.github.AddFault(fault)
	if err != nil {
		l.violate("the simulation itself failed: %v", err)
		return
	}
	l.mu.Lock()
	if fault.Kind == github.FaultPrimary {
		l.limited = time.Now().Add(length + fault.For + time.Minute)
	}
	l.mu.Unlock()
	l.trouble(length, fault.Kind, func() { l.world.github.ClearFaults(made.ID) })
}

// trouble counts a fault until it is over.
func (l *life) trouble(length time.Duration, what string, clear func()) {
	l.faults.Add(1)
	l.disturbed()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Faults++
	time.AfterFunc(length, func() {
		clear()
		l.story.tell("the trouble %s is over", what)
		l.disturbed()
		if l.faults.Add(-1) < 0 {
			l.faults.Store(0) // the calm came first
		}
	})
}

// killNext kills the next call of a name; "" is any.
func (l *life) killNext(name string, kill Kill) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.calm {
		l.victim, l.kill = name, kill
	}
}

// configure is juju config.
func (l *life) configure(option string, value any) {
	l.unit.set(option, value)
	l.queue(hook("config-changed"))
}

// misconfigure is juju config with a bad value.
func (l *life) misconfigure(option string, value any) {
	l.unit.spoil(option, value)
	l.queue(hook("config-changed"))
}

// remove is juju remove-unit.
func (l *life) remove() {
	l.unit.die()
	l.stopped.Store(true)
	l.queue(hook("stop"))
	l.queue(hook("remove"))
}

// reboot ends everything on the machine at once, as a power cut does, and starts
// it again after a time. Where systemd is there it starts the unit's Pebble.
func (l *life) reboot(down time.Duration, systemd bool) {
	// What is elsewhere lives on.
	elsewhere := l.plan.OpenStack && len(l.world.daemon().Possessions().Instances) == 0
	if !elsewhere {
		l.forgive("", "the machine rebooted")
	}
	l.unit.end(true)
	l.machine <- struct{}{}
	defer func() { <-l.machine }()
	l.disturbed()
	if !elsewhere {
		l.forgive("", "the machine rebooted")
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.rebooted = time.Now()
		}()
	}
	l.unit.pebble.powerOff()
	if err := l.world.shutDown(); err != nil {
		l.violate("the simulation itself failed: %v", err)
		return
	}
	time.Sleep(down)
	if err := l.world.boot(); err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
	if systemd {
		l.unit.pebble.boot()
	}
	l.first(hook("start"))
}

// killAgent kills the agent: the one that runs, at an effect that is counted from
// now, or the next.
func (l *life) killAgent(kill Kill) {
	l.counts.Store(true)
	if running := l.unit.pebble.running(); running != nil {
		running.process.arm(kill)
		return
	}
	l.unit.mu.Lock()
	defer l.unit.mu.Unlock()
	l.unit.agentKill = kill
}

// endAgent ends the agent that runs: kill at once, or by asking it, as somebody
// does who is not Pebble.
func (l *life) endAgent(kill bool) {
	running := l.unit.pebble.running()
	switch {
	case running == nil:
	case kill:
		running.process.die("at once")
	default:
		l.disturbed()
		running.terminate()
	}
}

// killPebble kills the daemon that supervises the agent.
func (l *life) killPebble() {
	l.disturbed()
	l.unit.pebble.die()
}

// switchAgent is the operator's switch. The next hook heeds it.
func (l *life) switchAgent(on bool) {
	l.disturbed()
	if err := l.world.switchAgent(on); err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
}

// restartLXD restarts the daemon; its instances live on.
func (l *life) restartLXD(down time.Duration) { l.away(down, l.world.daemon()) }

// away lets a cloud's services be away for a time; what runs there lives on.
func (l *life) away(down time.Duration, cloud interface {
	Restart(context.Context, time.Duration) error
}) {
	l.faults.Add(1)
	defer l.faults.Add(-1)
	l.disturbed()
	defer l.disturbed()
	if err := cloud.Restart(context.Background(), down); err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
}

// stopOne stops one of the unit's instances, as an operator would by hand.
func (l *life) stopOne() {
	for _, instance := range l.world.daemon().Possessions().Instances {
		if instance.StatusCode == api.Running && owner.Owns(instance.Name) {
			defer l.byHand(instance.Name, "the operator stopped it")()
			if err := l.world.put("http://lxd/1.0/instances/"+instance.Name+"/state", api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}); err != nil {
				l.story.tell("it could not be stopped: %v", err)
			}
			return
		}
	}
}

// byHand excuses what an operator does to a runner until the function that it returns
// is called.
func (l *life) byHand(runner, why string) (done func()) {
	l.disturbed()
	l.forgive(runner, why)
	began := time.Now()
	return func() {
		l.disturbed()
		l.forgiveSince(began, runner, why)
	}
}

// blink breaks the connections of all runners with GitHub for a time.
func (l *life) blink(length time.Duration) {
	l.disturbed()
	for _, r := range l.world.github.Runners() {
		l.world.github.Blink(r.Name, length)
	}
	time.AfterFunc(length, l.disturbed)
}

// deleteOne deletes one of the unit's instances, as an operator would by hand.
func (l *life) deleteOne() {
	l.stopOne()
	time.Sleep(time.Second)
	for _, instance := range l.world.daemon().Possessions().Instances {
		if instance.StatusCode == api.Stopped && owner.Owns(instance.Name) && instance.Config[metadataUnit] == unitName {
			defer l.byHand(instance.Name, "the operator deleted it")()
			if err := l.world.send(http.MethodDelete, "http://lxd/1.0/instances/"+instance.Name, l.world.lxdSocket(), nil); err != nil {
				l.story.tell("it could not be deleted: %v", err)
			}
			return
		}
	}
}

// relate is juju integrate with a server for debugging sessions, and its end.
func (l *life) relate(host string) {
	l.unit.relate(host)
	if host == "" {
		l.queue(hook("debug-ssh-relation-broken"))
		return
	}
	l.queue(hook("debug-ssh-relation-changed"))
}

// holdState lets the unit's state be written no more, for a time.
func (l *life) holdState(length time.Duration) {
	l.machine <- struct{}{}
	defer func() { <-l.machine }()
	path := filepath.Join(l.world.folder(), "state.json.tmp")
	if err := os.Mkdir(path, 0o700); err != nil {
		l.story.tell("its state stays as it is: %v", err)
		return
	}
	l.trouble(length, "state.json can't be written", func() { os.Remove(path) })
}

// attachStorage mounts storage, as Juju does before it tells the unit.
func (l *life) attachStorage() {
	if err := os.MkdirAll(l.world.path("storage"), 0o755); err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
	l.unit.mount(l.world.path("storage"))
	l.queue(hook("runner-storage-attached"))
}

// detachStorage asks the unit to let go of its storage.
func (l *life) detachStorage() {
	l.queue(hook("runner-storage-detaching"))
}

// strayFolder is the harm that a folder is left of an instance that is not there.
const strayFolder = "an exchange folder without an instance"

// harms are things that happen to what the unit has on its disk.
var harms = []string{"state.json is gone", "state.json is half written", "etags.json is junk", strayFolder, "a temporary file is left"}

// harm does one of harms, between two hooks.
func (l *life) harm(what string) {
	l.machine <- struct{}{}
	defer func() { <-l.machine }()
	folder := l.world.folder()
	if _, err := os.Stat(folder); err != nil {
		return
	}
	state := filepath.Join(folder, "state.json")
	l.forgot.Store(l.forgot.Load() || what == harms[0] || what == harms[1])
	var err error
	switch what {
	case harms[0]:
		err = os.RemoveAll(state)
	case harms[1]:
		err = os.Truncate(state, 100)
	case harms[2]:
		err = os.WriteFile(filepath.Join(folder, "etags.json"), []byte("{junk"), 0o600)
	case harms[3]:
		err = os.MkdirAll(filepath.Join(folder, "exchange", owner.NewName()), 0o700)
	case harms[4]:
		err = os.WriteFile(state+".tmp", []byte("{"), 0o600)
	}
	if err != nil && !os.IsNotExist(err) && !errors.Is(err, syscall.EISDIR) {
		l.violate("the simulation itself failed: %v", err)
	}
}

func idOf(fault lxd.Fault) string { return strconv.Itoa(fault.ID) }
