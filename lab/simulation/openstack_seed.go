package simulation

import (
	"slices"
	"time"

	"github-runner/lab/faults"
	labguests "github-runner/lab/guests"
	"github-runner/lab/openstack"
)

// onOpenStackName ends the names of these plans.
const onOpenStackName = " on OpenStack"

// SeededOnOpenStack returns the plan that a seed decides for a unit whose runners are
// servers.
func SeededOnOpenStack(seed uint64) Plan {
	d := newDice(seed, 20261130, onOpenStackName)
	d.plan.OpenStack = true
	d.extremes(35)
	d.jobs()
	if d.moving = d.one(4); d.moving {
		d.moves()
	}
	if d.one(2) {
		d.kills()
	}
	for range 1 + d.IntN(5) {
		pick(d, (*dice).openStackFaults, (*dice).openStackFaults, (*dice).openStackFaults, (*dice).gitHubFaults, (*dice).kills, (*dice).kills,
			(*dice).openStackConfigs, (*dice).actions, (*dice).servers, (*dice).servers, (*dice).damageElsewhere, (*dice).lie, (*dice).secrets)(d)
	}
	d.interventions()
	d.plan.sort()
	return d.plan
}

// longestHang is how long OpenStack takes at most to build or delete a server.
const longestHang = 10 * time.Minute

// openStackFaults lets OpenStack go wrong.
func (d *dice) openStackFaults() {
	for range 1 + d.IntN(3) {
		calls := pick(d, "", "GET *", "POST *", "DELETE *", "POST /compute/v2.1/servers", "GET /compute/v2.1/servers*", "* /network/*", "* /identity/*")
		fault := pick(d,
			faults.Fault{Kind: openstack.CallFails, Name: calls, Status: pick(d, 500, 502, 503, 504)},
			faults.Fault{Kind: openstack.CallFails, Name: calls, Status: pick(d, 401, 403, 404, 409, 413)},
			faults.Fault{Kind: openstack.RateLimited, Name: calls, For: d.between(time.Second, 90*time.Second)},
			faults.Fault{Kind: openstack.SlowAnswers, Name: calls, For: d.between(time.Second, 45*time.Second)},
			faults.Fault{Kind: openstack.LostAnswer, Name: pick(d, "", "POST *", "DELETE *")},
			faults.Fault{Kind: openstack.LoginFails}, faults.Fault{Kind: openstack.TokenRevoked},
			faults.Fault{Kind: openstack.QuotaExceeded}, faults.Fault{Kind: openstack.NoValidHost, Message: "No valid host was found."},
			faults.Fault{Kind: openstack.BuildHangs, For: d.between(time.Minute, longestHang)},
			faults.Fault{Kind: openstack.DeleteHangs, For: d.between(time.Minute, longestHang)},
			faults.Fault{Kind: openstack.DeleteFails, Message: "the disk is busy"}, faults.Fault{Kind: openstack.PortLeft},
			faults.Fault{Kind: openstack.Vanishes, Name: vanishing, Count: 1}, faults.Fault{Kind: openstack.ImageGone},
			faults.Fault{Kind: openstack.OddStatus, Message: pick(d, "PAUSED", "REBUILD", "SUSPENDED", "UNKNOWN", "VERIFY_RESIZE", "SHELVED")},
			faults.Fault{Kind: openstack.SlowBoot, For: d.between(10*time.Second, 5*time.Minute)}, faults.Fault{Kind: openstack.PowerOffHangs},
			faults.Fault{Kind: openstack.SSHFails}, faults.Fault{Kind: openstack.SSHHangs},
			faults.Fault{Kind: labguests.AppExits}, faults.Fault{Kind: labguests.NeverOnline},
			faults.Fault{Kind: labguests.LongPreJob, For: d.between(time.Second, 6*time.Minute)},
		)
		length := d.length()
		if d.one(2) && fault.Count == 0 {
			fault.Count = 1 + d.IntN(3)
		}
		d.plan.add(d.time(), func(l *life) { l.troubleOpenStack(fault, length) }, "OpenStack: %s for %v%s", describe(string(fault.Kind), fault.Name, fault.Count), length.Round(time.Second), forThat(fault.For))
	}
}

// openStackConfigs changes options.
func (d *dice) openStackConfigs() {
	for range 1 + d.IntN(5) {
		if d.one(5) {
			bad := [][2]any{{"path", "a b"}, {"virtual-machines", int64(-1)}, {"token", nil}, {"group", "nobody's"},
				{"openstack-flavor", "m9.tiny"}, {"openstack-flavor", nil}, {"openstack-network", "nowhere"}, {"base-image", "resolute"},
				{"openstack-image", "windows"}, {"manager-address", "here"}}
			if !d.moving {
				// With wrong credentials a unit can't leave, and is not told the right ones
				// by who has it leave.
				bad = append(bad, [2]any{"openstack-clouds-yaml", "clouds: [SECRET"}, [2]any{"openstack-clouds-yaml", wrongClouds})
			}
			one := pick(d, bad...)
			option, value := one[0].(string), one[1]
			d.plan.add(d.time(), func(l *life) { l.misconfigure(option, value) }, "juju config %s=%v", option, value)
			continue
		}
		option, value := d.openStackOption()
		d.plan.add(d.time(), func(l *life) { l.configure(option, value) }, "juju config %s=%v", option, value)
	}
}

// wrongClouds is a clouds.yaml with a password that nobody has.
const wrongClouds = "clouds: {lab: {auth: {auth_url: 'http://" + openStackAddress + "/identity/v3', username: lab, password: SECRETwrong, project_name: lab, user_domain_name: Default, project_domain_name: Default}}}"

func (d *dice) openStackOption() (option string, value any) {
	switch number := d.IntN(10); number {
	case 0, 1, 2, 3, 4, 5:
		return d.optionOfAll(number)
	case 6:
		return "manager-address", pick(d, "192.0.2.10", "192.0.2.0/24,2001:db8::7")
	case 7:
		return "dockerhub-mirror", pick(d, "", "https://mirror.test")
	}
	return "openstack-flavor", pick(d, "m1.small", "m1.medium")
}

// damageElsewhere harms what the unit has on disk where its runners share no folder with
// it. Where its runners move, the unit alone knows from where.
func (d *dice) damageElsewhere() {
	harm := pick(d, slices.DeleteFunc(slices.Clone(harms), func(harm string) bool {
		return harm == strayFolder || d.moving && (harm == harms[0] || harm == harms[1])
	})...)
	d.plan.add(d.time(), func(l *life) { l.harm(harm) }, "harm: %s", harm)
}

// moves lets the unit have its runners on LXD, and perhaps on OpenStack again.
func (d *dice) moves() {
	at := d.time()
	d.plan.add(at, (*life).moveToLXD, "juju config --reset openstack-clouds-yaml")
	if d.one(2) {
		d.plan.add(d.between(at, d.plan.Calm), (*life).moveToOpenStack, "juju config openstack-clouds-yaml=@clouds.yaml")
	}
}

// servers lets things happen to the unit's machine, and to its servers.
func (d *dice) servers() {
	for range 1 + d.IntN(2) {
		down := d.between(time.Second, 2*time.Minute)
		if d.one(6) {
			down = d.between(2*time.Minute, 25*time.Minute)
		}
		blip := d.between(5*time.Second, 50*time.Second)
		systemd := d.one(2)
		length := d.length()
		switch d.IntN(8) {
		case 0:
			d.plan.add(d.time(), func(l *life) { l.reboot(down, systemd) }, "the unit's machine reboots, which takes %v", down.Round(time.Second))
		case 1, 2:
			d.plan.add(d.time(), func(l *life) { l.restartOpenStack(down) }, "OpenStack's services are away for %v", down.Round(time.Second))
		case 3:
			d.plan.add(d.time(), (*life).stopServer, "the operator stops a server")
		case 4:
			d.plan.add(d.time(), (*life).deleteServer, "the operator deletes a server")
		case 5:
			d.plan.add(d.time(), func(l *life) { l.blink(blip) }, "no runner reaches GitHub for %v", blip.Round(time.Second))
		case 6:
			d.plan.add(d.time(), func(l *life) { l.holdState(length) }, "the unit's state can't be written for %v", length.Round(time.Second))
		case 7:
			d.plan.add(d.time(), func(l *life) { l.unit.refresh(); l.queue(hook("upgrade-charm")) }, "juju refresh")
		}
	}
}
