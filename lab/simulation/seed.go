package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github-runner/charm/juju"
	"github-runner/charm/secret"
	"github-runner/lab/github"
	"github-runner/lab/lxd"
	"github-runner/lab/runnerapp"
)

// Seeded returns the plan that a seed decides.
func Seeded(seed uint64) Plan {
	d := newDice(seed, 20261123, "")
	if d.one(3) {
		d.plan.Config["lxd-instance-type"], d.plan.Config["base-image"] = "virtual-machine", virtualImage
	}
	if d.one(4) {
		d.plan.Proxies = juju.Proxies{HTTP: secret.New("http://user:SECRETproxy@proxy.test:3128"), HTTPS: secret.New("http://user:SECRETproxy@proxy.test:3128"), NoProxy: "localhost"}
	}
	d.extremes(12)
	d.jobs()
	if d.one(2) {
		d.kills()
	}
	// A life has one or two kinds of trouble rather than all at once: what is
	// wrong can be understood then.
	for range 1 + d.IntN(5) {
		pick(d, (*dice).lxdFaults, (*dice).lxdFaults, (*dice).gitHubFaults, (*dice).gitHubFaults,
			(*dice).kills, (*dice).kills, (*dice).kills, (*dice).configs, (*dice).actions, (*dice).machine, (*dice).machine, (*dice).storage, (*dice).damage, (*dice).lie, (*dice).secrets)(d)
	}
	d.interventions()
	// At the end, so that what the seeds have found stays what they decide.
	if d.one(4) {
		d.images()
	}
	d.plan.sort()
	return d.plan
}

// dice decide a plan.
type dice struct {
	*rand.Rand
	plan Plan
	// moving: the unit's runners move to another cloud.
	moving bool
}

// newDice are the dice of a seed on a cloud, thrown for what all lives have. The cloud
// ends the plan's name.
func newDice(seed, cloud uint64, name string) *dice {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, cloud))}
	d.plan = Plan{
		Name:       fmt.Sprintf("seed %d%s", seed, name),
		Neighbours: d.one(3),
		Alone:      d.one(4),
		Calm:       d.between(20*time.Minute, 100*time.Minute),
		Config:     map[string]any{"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(1 + d.IntN(4))},
	}
	return d
}

// extremes makes a few lives long, and gives a few units many runners.
func (d *dice) extremes(many int64) {
	switch d.IntN(40) {
	case 0:
		// Idle runners become too old in such a life.
		d.plan.Calm = d.between(13*time.Hour, 15*time.Hour)
	case 1:
		d.plan.Config["virtual-machines"] = many
	}
}

// interventions are an operator's with the agent, and with the unit as a whole.
func (d *dice) interventions() {
	if d.one(12) {
		from := d.time()
		d.plan.add(from, func(l *life) { l.switchAgent(false) }, "the operator switches the agent off")
		d.plan.add(d.between(from, d.plan.Calm), func(l *life) { l.switchAgent(true) }, "the operator switches the agent on")
	}
	if d.one(8) {
		d.plan.add(d.time(), (*life).remove, "juju remove-unit")
	}
}

// one is true once in n times.
func (d *dice) one(n int) bool { return d.IntN(n) == 0 }

func (d *dice) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.Int64N(int64(to-from)))
}

// time is one before the calm.
func (d *dice) time() time.Duration { return d.between(time.Second, d.plan.Calm) }

func pick[T any](d *dice, from ...T) T { return from[d.IntN(len(from))] }

// jobs come alone and in crowds.
func (d *dice) jobs() {
	for range d.IntN(12) {
		request := github.JobRequest{
			Count:    pick(d, 1, 1, 1, 2, 4),
			Duration: pick(d, d.between(time.Second, 30*time.Second), d.between(time.Second, 5*time.Minute), d.between(time.Minute, 25*time.Minute)),
			Name:     "build",
		}
		if d.one(6) {
			request.Name = pick(d, slices.Sorted(maps.Keys(tricks))...)
		}
		d.plan.add(d.time(), func(l *life) { l.queueJobs(request) }, "%d jobs %q of %v", request.Count, request.Name, request.Duration.Round(time.Second))
	}
	if d.one(3) {
		d.plan.add(d.time(), (*life).cancelQueued, "queued jobs are cancelled")
	}
	if d.one(3) {
		d.plan.add(d.time(), func(l *life) { l.world.github.End(nil, runnerapp.Cancelled) }, "all jobs are cancelled")
	}
}

// lxdFaults lets LXD go wrong.
func (d *dice) lxdFaults() {
	for range 1 + d.IntN(3) {
		fault := pick(d,
			lxd.Fault{Kind: lxd.CreateFails}, lxd.Fault{Kind: lxd.CreateHalf}, lxd.Fault{Kind: lxd.CreateHangs},
			lxd.Fault{Kind: lxd.StartFails}, lxd.Fault{Kind: lxd.StartHangs},
			lxd.Fault{Kind: lxd.StopHangs}, lxd.Fault{Kind: lxd.DeleteFails}, lxd.Fault{Kind: lxd.DeleteHangs},
			lxd.Fault{Kind: lxd.PoolFull}, lxd.Fault{Kind: lxd.ImageGone}, lxd.Fault{Kind: lxd.NoSubnet},
			lxd.Fault{Kind: lxd.CallFails}, lxd.Fault{Kind: lxd.CallFails, Status: 503, Name: "GET *"},
			lxd.Fault{Kind: lxd.CallFails, Name: pick(d, "PUT *", "POST *", "DELETE *")},
			lxd.Fault{Kind: lxd.SlowAnswers, For: d.between(time.Second, 40*time.Second), Name: pick(d, "", "/1.0/instances*", "/1.0/operations*")},
			lxd.Fault{Kind: lxd.LostAnswer, Name: pick(d, "", "/1.0/instances*")},
			lxd.Fault{Kind: lxd.EventsLost}, lxd.Fault{Kind: lxd.AppExits}, lxd.Fault{Kind: lxd.NeverOnline},
			lxd.Fault{Kind: lxd.SlowBoot, For: d.between(10*time.Second, 5*time.Minute)},
			lxd.Fault{Kind: lxd.LongPreJob, For: d.between(time.Second, 6*time.Minute)}, lxd.Fault{Kind: lxd.PowerOffHangs},
			lxd.Fault{Kind: lxd.DiskQuota}, lxd.Fault{Kind: lxd.NoKVM}, lxd.Fault{Kind: lxd.NoAgent},
			lxd.Fault{Kind: lxd.LateAgent, For: d.between(10*time.Second, 3*time.Minute)},
			lxd.Fault{Kind: lxd.MountFails}, lxd.Fault{Kind: lxd.OddStatus, Message: pick(d, "Error", "Ready", "Frozen")},
		)
		length := d.length()
		if d.one(2) {
			fault.Count = 1 + d.IntN(3)
		}
		d.plan.add(d.time(), func(l *life) { l.troubleLXD(fault, length) }, "LXD: %s for %v%s", describe(string(fault.Kind), fault.Name, fault.Count), length.Round(time.Second), forThat(fault.For))
	}
}

// images lets the unit make images for its runners, which its agent does, or the operator
// where there is none.
func (d *dice) images() {
	d.plan.Config["image-interval"] = int64(7)
	for range d.IntN(3) {
		packages := pick(d, "", "podman", "podman, skopeo")
		d.plan.add(d.time(), func(l *life) { l.configure("image-packages", packages) }, "juju config image-packages=%q", packages)
	}
	for range d.IntN(3) {
		fault, length := lxd.Fault{Kind: pick(d, lxd.BuildFails, lxd.BuildHangs, lxd.PublishFails, lxd.PublishHangs)}, d.length()
		d.plan.add(d.time(), func(l *life) { l.troubleLXD(fault, length) }, "LXD: %s for %v", fault.Kind, length.Round(time.Second))
	}
	for range d.IntN(3) {
		if !d.plan.Alone {
			d.plan.add(d.time(), func(l *life) { l.endAgent(true) }, "SIGKILL to the agent, if it runs")
			continue
		}
		c := call{kind: juju.KindAction, name: pick(d, "build-image", "update-dependencies")}
		d.plan.add(d.time(), func(l *life) { l.queue(c) }, "%s", c)
	}
}

// gitHubFaults lets GitHub go wrong.
func (d *dice) gitHubFaults() {
	for range 1 + d.IntN(3) {
		on := pick(d, "", "", "list", "get", "delete", "register", "downloads")
		fault := pick(d,
			github.Fault{Kind: github.FaultStatus, On: on, Status: pick(d, 500, 502, 503)},
			github.Fault{Kind: github.FaultStatus, On: pick(d, "", "list", "register", "delete"), Status: pick(d, 401, 403, 404, 422)},
			github.Fault{Kind: github.FaultBody, On: on, Body: pick(d, "", "{}", "<html>proxy</html>", `{"total_count":0,"runners":[]}`)},
			github.Fault{Kind: github.FaultDelay, On: on, Delay: d.between(time.Second, 45*time.Second)},
			github.Fault{Kind: github.FaultLost, On: on}, github.Fault{Kind: github.FaultDown, On: on},
			github.Fault{Kind: github.FaultPrimary}, github.Fault{Kind: github.FaultSecondary, RetryAfter: d.IntN(90)},
			github.Fault{Kind: github.FaultSecondary, Status: 429}, github.Fault{Kind: github.FaultRevoked},
			github.Fault{Kind: github.FaultLag, Delay: d.between(time.Second, time.Minute)},
			github.Fault{Kind: github.FaultLateDelete, Delay: d.between(time.Second, 3*time.Second)},
			github.Fault{Kind: github.FaultLinger, Delay: d.between(time.Minute, 15*time.Minute)},
		)
		length := d.length()
		if d.one(2) {
			fault.Count = 1 + d.IntN(3)
		}
		if fault.Kind == github.FaultPrimary {
			fault.For = length
		}
		d.plan.add(d.time(), func(l *life) { l.troubleGitHub(fault, length) }, "GitHub: %s for %v%s", describe(fault.Kind, fault.On, fault.Count), length.Round(time.Second), forThat(fault.Delay))
	}
}

// lie lets GitHub's list be empty while it answers nothing about single runners.
func (d *dice) lie() {
	at, length := d.time(), d.length()
	d.plan.add(at, func(l *life) {
		l.troubleGitHub(github.Fault{Kind: github.FaultStatus, On: "get", Status: 502}, length)
		l.troubleGitHub(github.Fault{Kind: github.FaultBody, On: "list", Body: `{"total_count":0,"runners":[]}`}, length)
	}, "GitHub: an empty list, and no answer about single runners, for %v", length.Round(time.Second))
}

// length is how long a trouble lasts.
func (d *dice) length() time.Duration {
	return pick(d, d.between(time.Second, time.Minute), d.between(time.Minute, 15*time.Minute), d.between(5*time.Minute, 40*time.Minute))
}

func describe(kind, name string, count int) string {
	text := kind
	if name != "" {
		text += fmt.Sprintf(" on %q", name)
	}
	if count > 0 {
		text += fmt.Sprintf(", %d times,", count)
	}
	return text
}

func forThat(length time.Duration) string {
	if length == 0 {
		return ""
	}
	return fmt.Sprintf(" (%v each)", length.Round(time.Second))
}

// kills ends hooks before their time.
func (d *dice) kills() {
	for range 1 + d.IntN(5) {
		kill := Kill{At: 1 + d.IntN(30), After: d.one(2)}
		switch d.IntN(9) {
		case 2:
			d.plan.add(d.time(), func(l *life) { l.endAgent(true) }, "SIGKILL to the agent, if it runs")
		case 3:
			d.plan.add(d.time(), func(l *life) { l.endAgent(false) }, "SIGTERM to the agent, if it runs")
		case 4, 5:
			d.plan.add(d.time(), func(l *life) { l.killAgent(kill) }, "the agent is killed: %+v", kill)
		case 6:
			d.plan.add(d.time(), (*life).killPebble, "SIGKILL to Pebble")
		case 0:
			d.plan.add(d.time(), func(l *life) { l.unit.end(true) }, "SIGKILL, if a hook runs")
		case 1:
			d.plan.add(d.time(), func(l *life) { l.unit.end(false) }, "SIGTERM, if a hook runs")
		default:
			d.plan.add(d.time(), func(l *life) { l.killNext("", kill) }, "the next call is killed: %+v", kill)
		}
		if d.one(2) {
			d.action()
		}
	}
}

// configs changes options.
func (d *dice) configs() {
	for range 1 + d.IntN(5) {
		if d.one(6) {
			d.bad()
			continue
		}
		if d.one(12) {
			d.kind()
			continue
		}
		option, value := d.option()
		d.plan.add(d.time(), func(l *life) { l.configure(option, value) }, "juju config %s=%v", option, value)
	}
}

// optionOfAll is one that matters on every cloud, by a number below 6.
func (d *dice) optionOfAll(number int) (option string, value any) {
	switch number {
	case 3:
		return "path", pick(d, "acme/widgets", "acme/other", "acme")
	case 4:
		return "labels", pick(d, "", "gpu", "a,b")
	case 5:
		return "token", pick(d, "ghp_SECRET1", "ghp_SECRET2")
	}
	return "virtual-machines", int64(d.IntN(6))
}

func (d *dice) option() (option string, value any) {
	switch number := d.IntN(10); number {
	case 0, 1, 2, 3, 4, 5:
		return d.optionOfAll(number)
	case 6:
		return "vm-cpu", int64(1 + d.IntN(4))
	case 7:
		return "denylist", pick(d, "", "10.0.0.0/8", "192.0.2.1/32,198.51.100.0/24")
	case 8:
		return "dockerhub-mirror", pick(d, "", "https://mirror.test")
	}
	return "vm-memory", pick(d, "1GiB", "2GiB")
}

// kind makes the runners another kind of machine.
func (d *dice) kind() {
	kind, image := "container", "noble"
	if d.one(2) {
		kind, image = "virtual-machine", virtualImage
	}
	d.plan.add(d.time(), func(l *life) {
		l.unit.set("base-image", image)
		l.configure("lxd-instance-type", kind)
	}, "juju config lxd-instance-type=%s base-image=%s", kind, image)
}

// bad is a value that blocks the unit. The calm mends it.
func (d *dice) bad() {
	bad := pick(d, [2]any{"path", "a b"}, [2]any{"virtual-machines", int64(-1)}, [2]any{"token", nil}, [2]any{"denylist", "10.0.0.0/33"},
		[2]any{"base-image", "resolute"}, [2]any{"lxd-instance-type", "microwave"}, [2]any{"group", "nobody's"}, [2]any{"experimental-use-aproxy", true}, [2]any{"vm-memory", "lots"})
	option, value := bad[0].(string), bad[1]
	d.plan.add(d.time(), func(l *life) { l.misconfigure(option, value) }, "juju config %s=%v", option, value)
}

// actions lets the operator run some.
func (d *dice) actions() {
	for range 1 + d.IntN(4) {
		d.action()
	}
}

func (d *dice) action() {
	c := call{kind: juju.KindAction, name: pick(d, "check-runners", "reconcile-runners", "flush-runners", "flush-runners", "flush-runners")}
	if c.name == "flush-runners" {
		c.params = map[string]any{"mode": pick(d, "flush-idle", "flush-idle-wait-repo-check", "flush-busy", "flush-busy-wait-repo-check", "force-flush-wait-repo-check")}
	}
	at := d.time()
	d.plan.add(at, func(l *life) { l.queue(c) }, "%s", c)
	if d.one(2) {
		// A job that comes at the same moment.
		request := github.JobRequest{Duration: d.between(10*time.Second, 5*time.Minute), Name: "build"}
		d.plan.add(at+d.between(-3*time.Second, 3*time.Second), func(l *life) { l.queueJobs(request) }, "a job of %v", request.Duration.Round(time.Second))
	}
}

// machine lets things happen to the unit's machine.
func (d *dice) machine() {
	for range 1 + d.IntN(2) {
		down := d.between(time.Second, 2*time.Minute)
		if d.one(6) {
			down = d.between(2*time.Minute, 25*time.Minute)
		}
		blip := d.between(5*time.Second, 50*time.Second)
		systemd := d.one(2)
		host := pick(d, "192.0.2.7", "2001:db8::7", "")
		switch d.IntN(9) {
		case 5:
			d.plan.add(d.time(), (*life).deleteOne, "the operator deletes an instance")
		case 6:
			d.plan.add(d.time(), func(l *life) { l.blink(blip) }, "no runner reaches GitHub for %v", blip.Round(time.Second))
		case 7:
			d.plan.add(d.time(), func(l *life) { l.relate(host) }, "the relation debug-ssh has the server %q", host)
		case 8:
			length := d.length()
			d.plan.add(d.time(), func(l *life) { l.holdState(length) }, "the unit's state can't be written for %v", length.Round(time.Second))
		case 0:
			d.plan.add(d.time(), func(l *life) { l.reboot(down, systemd) }, "the machine reboots, which takes %v", down.Round(time.Second))
		case 1, 2:
			d.plan.add(d.time(), func(l *life) { l.restartLXD(down) }, "LXD restarts, which takes %v", down.Round(time.Second))
		case 3:
			d.plan.add(d.time(), (*life).stopOne, "the operator stops an instance")
		case 4:
			d.plan.add(d.time(), func(l *life) { l.unit.refresh(); l.queue(hook("upgrade-charm")) }, "juju refresh")
		}
	}
}

// storage attaches and detaches storage.
func (d *dice) storage() {
	at := d.time()
	d.plan.add(at, (*life).attachStorage, "juju attach-storage")
	if d.one(2) {
		d.plan.add(d.between(at, d.plan.Calm), (*life).detachStorage, "juju detach-storage")
	}
	if d.one(4) {
		// As the documentation tells it.
		at := d.time()
		d.plan.add(at, func(l *life) { l.configure("virtual-machines", int64(0)) }, "juju config virtual-machines=0")
		d.plan.add(at+12*time.Minute, func(l *life) { l.configure("runner-storage", "memory") }, "juju config runner-storage=memory")
		d.plan.add(at+13*time.Minute, func(l *life) { l.configure("virtual-machines", int64(2)) }, "juju config virtual-machines=2")
		d.plan.Calm = max(d.plan.Calm, at+15*time.Minute)
	}
}

// damage harms what the unit has on disk.
func (d *dice) damage() {
	harm := pick(d, harms...)
	d.plan.add(d.time(), func(l *life) { l.harm(harm) }, "harm: %s", harm)
}
