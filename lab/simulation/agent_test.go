package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github-runner/lab/faults"
	"github-runner/lab/github"
	"github-runner/lab/lxd"
	"github-runner/lab/openstack"
)

// TestAgentKilledAtEveryEffect kills the agent before and after each of its
// effects, as they are counted in a life without a kill. GitHub is away while the
// hook does what it came for, so that the work is the agent's.
func TestAgentKilledAtEveryEffect(t *testing.T) {
	count := func(number int64) func(*life) {
		return func(l *life) { l.configure("virtual-machines", number) }
	}
	twoJobs := func(l *life) {
		l.queueJobs(github.JobRequest{Count: 2, Duration: 80 * time.Second, Name: "build"})
	}
	for name, test := range map[string]struct {
		change      func(*life)
		before      int64
		onOpenStack bool
	}{
		"first runners": {change: count(2)},
		"used runners":  {change: twoJobs, before: 2},
		"more runners":  {change: count(4), before: 2},
		"fewer runners": {change: count(1), before: 2},
		"outdated ones": {change: func(l *life) { l.configure("vm-cpu", int64(4)) }, before: 2},

		"used runners on OpenStack":  {change: twoJobs, before: 2, onOpenStack: true},
		"more runners on OpenStack":  {change: count(4), before: 2, onOpenStack: true},
		"outdated ones on OpenStack": {change: func(l *life) { l.configure("openstack-flavor", "m1.medium") }, before: 2, onOpenStack: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := func(kill Kill) Plan {
				p := Plan{Name: fmt.Sprintf("%s, the agent killed: %+v", name, kill), OpenStack: test.onOpenStack, Calm: 6 * time.Minute, Neighbours: true, Config: map[string]any{
					"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": test.before,
				}}
				p.add(time.Minute, func(l *life) { l.queueJobs(github.JobRequest{Duration: 3 * time.Minute, Name: "build"}) }, "a job")
				p.add(2*time.Minute, func(l *life) {
					l.troubleGitHub(github.Fault{Kind: github.FaultStatus, Status: 502}, time.Minute)
				}, "GitHub is away for a minute")
				p.add(2*time.Minute+time.Second, test.change, "%s", name)
				p.add(2*time.Minute+30*time.Second, func(l *life) { l.killAgent(kill) }, "the agent will be killed")
				return p
			}
			effects := live(t, plan(Kill{})).AgentEffects
			if effects < 3 {
				t.Fatalf("the agent has only %d effects", effects)
			}
			killed := 0
			for at := 1; at <= effects && !t.Failed(); at += oneIn {
				for _, after := range []bool{false, true} {
					killed += live(t, plan(Kill{At: at, After: after})).AgentKills
				}
			}
			if killed == 0 {
				t.Error("the agent was never killed")
			}
			t.Logf("%d effects, %d kills", effects, killed)
		})
	}
}

// TestKilledWhileJobsFlow kills the agent, Pebble, LXD, and everything at once as a
// power cut does, 200 times each at random moments, while jobs come. Of the agent's
// moments some find it dead already, so that it has more of them.
func TestKilledWhileJobsFlow(t *testing.T) {
	const lives, kills = 8, 25
	var agentKills atomic.Int64
	t.Cleanup(func() {
		if got := agentKills.Load(); got < lives*kills/oneIn {
			t.Errorf("the agent was killed only %d times", got)
		}
	})
	for name, kill := range map[string]func(*life, *rand.Rand){
		"agent": func(l *life, random *rand.Rand) {
			if random.IntN(2) == 0 {
				l.strike(func() { l.endAgent(true) })
				return
			}
			l.strike(func() { l.killAgent(Kill{At: 1 + random.IntN(6), After: random.IntN(2) == 0}) })
		},
		"Pebble": func(l *life, _ *rand.Rand) { l.strike(l.killPebble) },
		"LXD": func(l *life, random *rand.Rand) {
			l.strike(func() { l.restartLXD(time.Duration(random.Int64N(int64(10 * time.Second)))) })
		},
		"everything": func(l *life, random *rand.Rand) {
			l.reboot(time.Duration(random.Int64N(int64(20*time.Second))), random.IntN(2) == 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			strikes := kills
			if name == "agent" {
				strikes = 3 * kills
			}
			for seed := range uint64(lives) {
				if seed%oneIn != 0 {
					continue
				}
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					t.Parallel()
					random := rand.New(rand.NewPCG(seed, 4))
					p := Plan{Name: fmt.Sprintf("%d kills: %s, %d", strikes, name, seed), Config: map[string]any{
						"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(3),
					}}
					at := time.Minute
					for range strikes {
						at += time.Second + time.Duration(random.Int64N(int64(50*time.Second)))
						p.add(at, func(l *life) { kill(l, random) }, "kill: %s", name)
					}
					p.Calm = at + time.Minute
					for job := 30 * time.Second; job < p.Calm; job += time.Duration(random.Int64N(int64(20 * time.Second))) {
						request := github.JobRequest{Duration: time.Second + time.Duration(random.Int64N(int64(time.Minute))), Name: "build"}
						p.add(job, func(l *life) { l.queueJobs(request) }, "a job of %v", request.Duration)
					}
					p.sort()
					report := live(t, p)
					if name == "agent" {
						agentKills.Add(int64(report.AgentKills))
						t.Logf("the agent was killed %d times", report.AgentKills)
					}
				})
			}
		})
	}
}

// TestAgentGivesWayAtEachMoment lets a hook come, or SIGTERM, at each moment of the
// agent's work, with a world that is well and with one that hangs. How long either
// may take is one of the promises.
func TestAgentGivesWayAtEachMoment(t *testing.T) {
	const step = oneIn * 900 * time.Millisecond
	for name, trouble := range map[string]func(*life){
		"well":         func(*life) {},
		"starts hang":  func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.StartHangs}, 3*time.Minute) },
		"creates hang": func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.CreateHangs}, 3*time.Minute) },
		"deletes hang": func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.DeleteHangs}, 3*time.Minute) },
		"LXD is slow":  func(l *life) { l.troubleLXD(lxd.Fault{Kind: lxd.SlowAnswers, For: 20 * time.Second}, 3*time.Minute) },
		"GitHub is slow": func(l *life) {
			l.troubleGitHub(github.Fault{Kind: github.FaultDelay, Delay: 20 * time.Second}, 3*time.Minute)
		},
		"well" + onOpenStackName: func(*life) {},
		"OpenStack is slow" + onOpenStackName: func(l *life) {
			l.troubleOpenStack(faults.Fault{Kind: openstack.SlowAnswers, For: 20 * time.Second}, 3*time.Minute)
		},
		"tokens end, and Keystone is slow" + onOpenStackName: func(l *life) {
			l.troubleOpenStack(faults.Fault{Kind: openstack.TokenRevoked, Count: 3}, 3*time.Minute)
			l.troubleOpenStack(faults.Fault{Kind: openstack.SlowAnswers, Name: "POST /identity/*", For: 20 * time.Second}, 3*time.Minute)
		},
		"SSH hangs" + onOpenStackName: func(l *life) { l.troubleOpenStack(faults.Fault{Kind: openstack.SSHHangs}, 3*time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for after := 10 * time.Second; after < 20*time.Second; after += step {
				p := Plan{Name: fmt.Sprintf("%s, a hook after %v", name, after), OpenStack: strings.HasSuffix(name, onOpenStackName), Calm: 7 * time.Minute, Config: map[string]any{
					"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(3),
				}}
				p.add(70*time.Second, trouble, "%s", name)
				p.add(70*time.Second, func(l *life) {
					l.queueJobs(github.JobRequest{Count: 2, Duration: 10 * time.Second, Name: "build"})
				}, "2 jobs")
				p.add(70*time.Second+after, func(l *life) { l.queue(hook("update-status")) }, "a hook")
				p.add(2*time.Minute+after, func(l *life) { l.endAgent(false) }, "SIGTERM to the agent")
				live(t, p)
			}
		})
	}
}

// TestAgentIsFrugal counts the agent's calls in hours in which nothing happens, and
// in hours in which nothing works.
func TestAgentIsFrugal(t *testing.T) {
	const from, hours = time.Hour, 6
	for name, test := range map[string]struct {
		trouble func(*life)
		// most are the calls in an hour.
		most map[string]int
	}{
		"nothing happens": {func(*life) {}, map[string]int{"GitHub": 40, "LXD": 120}},
		"GitHub is away": {func(l *life) {
			l.troubleGitHub(github.Fault{Kind: github.FaultDown}, hours*time.Hour)
		}, map[string]int{"GitHub": 120, "LXD": 700}},
		"GitHub answers 502": {func(l *life) {
			l.troubleGitHub(github.Fault{Kind: github.FaultStatus, Status: 502}, hours*time.Hour)
		}, map[string]int{"GitHub": 120, "LXD": 700}},
		"the token is revoked": {func(l *life) {
			l.troubleGitHub(github.Fault{Kind: github.FaultRevoked}, hours*time.Hour)
		}, map[string]int{"GitHub": 120, "LXD": 700}},
		"LXD answers 503": {func(l *life) {
			l.troubleLXD(lxd.Fault{Kind: lxd.CallFails, Status: 503}, hours*time.Hour)
		}, map[string]int{"GitHub": 120, "LXD": 250}},
		"creates fail": {func(l *life) {
			l.troubleLXD(lxd.Fault{Kind: lxd.CreateFails}, hours*time.Hour)
			l.queueJobs(github.JobRequest{Duration: time.Minute, Name: "build"})
		}, map[string]int{"GitHub": 200, "LXD": 600}},
		"runners never come online": {func(l *life) {
			l.troubleLXD(lxd.Fault{Kind: lxd.AppExits}, hours*time.Hour)
			l.queueJobs(github.JobRequest{Duration: time.Minute, Name: "build"})
		}, map[string]int{"GitHub": 300, "LXD": 600}},
		"an operation hangs": {func(l *life) {
			l.troubleLXD(lxd.Fault{Kind: lxd.DeleteHangs}, hours*time.Hour)
			l.queueJobs(github.JobRequest{Duration: time.Minute, Name: "build"})
		}, map[string]int{"GitHub": 100, "LXD": 250}},

		// OpenStack tells of nothing: it is looked at every 15 seconds. GitHub counts no
		// call that it answers by 304.
		"nothing happens" + onOpenStackName: {func(*life) {}, map[string]int{"GitHub": 260, "OpenStack": 300}},
		"OpenStack answers 503" + onOpenStackName: {func(l *life) {
			l.troubleOpenStack(faults.Fault{Kind: openstack.CallFails, Status: 503}, hours*time.Hour)
		}, map[string]int{"GitHub": 400, "OpenStack": 500}},
		"the password is wrong" + onOpenStackName: {func(l *life) {
			l.troubleOpenStack(faults.Fault{Kind: openstack.LoginFails}, hours*time.Hour)
			l.troubleOpenStack(faults.Fault{Kind: openstack.TokenRevoked}, hours*time.Hour)
		}, map[string]int{"GitHub": 400, "OpenStack": 500}},
		"GitHub is away" + onOpenStackName: {func(l *life) {
			l.troubleGitHub(github.Fault{Kind: github.FaultDown}, hours*time.Hour)
		}, map[string]int{"GitHub": 400, "OpenStack": 500}},
		"no valid host" + onOpenStackName: {func(l *life) {
			l.troubleOpenStack(faults.Fault{Kind: openstack.NoValidHost, Message: "No valid host was found."}, hours*time.Hour)
			l.queueJobs(github.JobRequest{Duration: time.Minute, Name: "build"})
		}, map[string]int{"GitHub": 400, "OpenStack": 500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Plan{Name: name, OpenStack: strings.HasSuffix(name, onOpenStackName), Calm: from + hours*time.Hour + time.Second, Config: map[string]any{
				"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(3),
			}}
			p.add(from, test.trouble, "%s", name)
			var last map[string]int
			for hour := range hours {
				p.add(from+time.Duration(hour)*time.Hour+time.Minute, func(l *life) {
					running := l.unit.pebble.running()
					if running == nil {
						l.violate("no agent runs")
						return
					}
					calls := running.process.counted()
					if last == nil {
						last = calls
					}
					for who, most := range test.most {
						if made := calls[who] - last[who]; made > most {
							l.violate("in an hour the agent called %s %d times, not at most %d times", who, made, most)
						}
					}
					last = calls
				}, "the agent's calls are counted")
			}
			live(t, p)
		})
	}
}
