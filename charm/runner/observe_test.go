package runner

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var tester = Owner{ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000", Unit: "github-runner/0"}

// TestObserveTimes holds the rules in which time decides.
func TestObserveTimes(t *testing.T) {
	limits := DefaultLimits(2)
	name := tester.NewName()
	template := Template{Hash: "today", BootDeadline: 3 * time.Minute, Want: Want{Scope: home}}
	at := func(sign sign, ago time.Duration) Memory {
		var m Memory
		m.set(sign, name, epoch.Add(-ago))
		return m
	}
	runs := func(age time.Duration, change ...func(*Instance)) []Instance {
		i := Instance{Name: name, Status: StatusRunning, Scope: home, RunnerID: 7, Hash: "today", Created: epoch.Add(-age), Working: WorkingNo}
		for _, c := range change {
			c(&i)
		}
		return []Instance{i}
	}
	unseen := func(i *Instance) { i.Working = WorkingUnseen }
	offline := []Registration{{ID: 7, Name: name, Scope: home}}
	idle := []Registration{{ID: 7, Name: name, Scope: home, Online: true}}
	busy := []Registration{{ID: 7, Name: name, Scope: home, Busy: true}}
	type judged struct {
		Verdict                                  Verdict
		Outdated, Removable, FailedStart, Proven bool
	}
	tests := []struct {
		name          string
		instances     []Instance
		registrations []Registration
		away          bool
		memory        Memory
		want          judged
	}{
		{"before the boot deadline", runs(2 * time.Minute), offline, false, Memory{}, judged{Verdict: Starting}},
		{"past it, seen offline for long", runs(4 * time.Minute), offline, false, at(signOffline, 2*time.Minute), judged{Verdict: Lost, FailedStart: true}},
		{"past it, offline since a moment ago", runs(time.Hour), offline, false, at(signOffline, 30*time.Second), judged{Verdict: Starting}},
		{"was online, offline for long", runs(time.Hour), offline, false, merge(at(signOffline, 2*time.Minute), at(signOnline, time.Hour)), judged{Verdict: Lost}},
		{"GitHub was away until 4 minutes ago", runs(time.Hour), offline, false, merge(at(signOffline, 2*time.Minute), awaySince(4*time.Minute)), judged{Verdict: Unknown}},
		{"GitHub was away until 6 minutes ago", runs(time.Hour), offline, false, merge(at(signOffline, 2*time.Minute), awaySince(6*time.Minute)), judged{Verdict: Lost, FailedStart: true}},
		{"GitHub is away", runs(time.Hour), nil, true, Memory{}, judged{Verdict: Unknown}},
		{"came online just now", runs(time.Minute), idle, false, Memory{}, judged{Verdict: Idle}},
		{"online for two minutes", runs(3 * time.Minute), idle, false, at(signOnline, 2*time.Minute), judged{Verdict: Idle, Proven: true}},
		{"idle for 13 hours", runs(13 * time.Hour), idle, false, at(signOnline, 13*time.Hour), judged{Verdict: Idle, Outdated: true, Proven: true}},
		{"another recipe", runs(time.Minute, func(i *Instance) { i.Hash = "yesterday" }), idle, false, Memory{}, judged{Verdict: Idle, Outdated: true}},
		{"gone and quiet just now", runs(time.Hour), nil, false, Memory{}, judged{Verdict: Finishing}},
		{"gone and quiet for 2 minutes", runs(time.Hour), nil, false, merge(at(signGone, 2*time.Minute), at(signQuiet, 2*time.Minute)), judged{Verdict: Finishing, Removable: true}},
		{"gone, at work", runs(time.Hour, func(i *Instance) { i.Working = WorkingYes }), nil, false, at(signQuiet, 2*time.Minute), judged{Verdict: Finishing}},
		{"gone, cloud can't tell", runs(time.Hour, func(i *Instance) { i.Working = WorkingUnknown }), nil, false, at(signQuiet, 2*time.Minute), judged{Verdict: Finishing}},
		{"gone and completed", runs(time.Hour, func(i *Instance) { i.Completed, i.Working = true, WorkingUnknown }), nil, false, Memory{}, judged{Verdict: Finishing, Removable: true}},
		{"deregistered a second ago", runs(time.Hour), nil, false, at(signDeregistered, time.Second), judged{Verdict: Finishing}},
		{"deregistered and quiet for 5 seconds", runs(time.Hour), nil, false, at(signDeregistered, 5*time.Second), judged{Verdict: Finishing, Removable: true}},
		{"deregistered, online before, processes unseen", runs(time.Hour, unseen), nil, false, merge(at(signDeregistered, 10*time.Second), at(signOnline, time.Hour)), judged{Verdict: Finishing}},
		{"the same, quiet for 2 minutes", runs(time.Hour, unseen), nil, false, merge(merge(at(signDeregistered, 2*time.Minute), at(signOnline, time.Hour)), at(signQuiet, 2*time.Minute)), judged{Verdict: Finishing, Removable: true}},
		{"deregistered, never online, processes unseen", runs(time.Hour, unseen), nil, false, at(signDeregistered, 10*time.Second), judged{Verdict: Finishing, Removable: true}},
		{"deregistered, took a job all the same", runs(time.Hour, func(i *Instance) { i.Working = WorkingYes }), nil, false, at(signDeregistered, time.Minute), judged{Verdict: Finishing}},
		{"stopped before any job", runs(time.Minute, func(i *Instance) { i.Status = StatusStopped }), offline, false, Memory{}, judged{Verdict: Dead, FailedStart: true}},
		{"stopped after it had waited for jobs", runs(time.Hour, func(i *Instance) { i.Status = StatusStopped }), offline, false, at(signLasted, time.Minute), judged{Verdict: Dead}},
		{"stopped soon after it came online", runs(time.Hour, func(i *Instance) { i.Status = StatusStopped }), offline, false, at(signOnline, 5*time.Minute), judged{Verdict: Dead, FailedStart: true}},
		{"stopped after its job", runs(time.Minute, func(i *Instance) { i.Status, i.TookJob = StatusStopped, true }), offline, false, Memory{}, judged{Verdict: Dead, Proven: true}},
		{"stopped in a job that GitHub alone tells of", runs(time.Minute, func(i *Instance) { i.Status, i.Working = StatusStopped, WorkingUnknown }), busy, false, Memory{}, judged{Verdict: Dead}},
		{"stopped after we deregistered it", runs(time.Minute, func(i *Instance) { i.Status = StatusStopped }), nil, false, at(signDeregistered, time.Minute), judged{Verdict: Dead}},
		{"deleted by us a moment ago, still listed", runs(time.Hour, func(i *Instance) { i.Status = StatusStopped }), nil, false, at(signDeleted, 10*time.Second), judged{Verdict: Deleting}},
		{"deleted by us, listed for too long", runs(time.Hour, func(i *Instance) { i.Status = StatusStopped }), nil, false, at(signDeleted, 2*time.Minute), judged{Verdict: Dead}},
		{"created a moment ago, not listed yet", nil, offline, false, at(signBorn, 10*time.Second), judged{Verdict: Starting}},
		{"created and never listed", nil, offline, false, at(signBorn, 2*time.Minute), judged{Verdict: Orphan}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			world := World{Now: epoch, Instances: test.instances, Registrations: map[Scope][]Registration{home: test.registrations}}
			if test.away {
				world.Registrations, world.Away = nil, map[Scope]error{home: errors.New("away")}
			}
			view, _ := observe(world, tester, template, test.memory, limits)
			all := append(view.Runners, view.Orphans...)
			if len(all) != 1 {
				t.Fatalf("judged %d runners, want 1", len(all))
			}
			r := all[0]
			got := judged{r.Verdict, r.Outdated, r.Removable, r.FailedStart, r.Proven}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("judged (-want +got):\n%s", diff)
			}
		})
	}
}

func merge(a, b Memory) Memory {
	for key, when := range b.Seen {
		a.Seen[key] = when
	}
	return a
}

func awaySince(ago time.Duration) Memory {
	var m Memory
	m.set(signAway, home.String(), epoch.Add(-ago))
	return m
}

func TestObserveChangesNoMemoryOfItsCaller(t *testing.T) {
	var memory Memory
	memory.set(signGone, "some-runner", epoch)
	before := memory.Clone()
	world := World{Now: epoch, Registrations: map[Scope][]Registration{home: {{ID: 1, Name: tester.NewName(), Scope: home}}}}
	observe(world, tester, Template{}, memory, DefaultLimits(2))
	if diff := cmp.Diff(before, memory); diff != "" {
		t.Errorf("memory changed (-before +after):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	ten := Owner{ModelUUID: tester.ModelUUID, Unit: "github-runner/10"}
	one := Owner{ModelUUID: tester.ModelUUID, Unit: "github-runner/1"}
	dashed := Owner{ModelUUID: tester.ModelUUID, Unit: "github-runner-1/0"}
	elsewhere := Owner{ModelUUID: "another", Unit: "github-runner/1"}
	for _, other := range []Owner{ten, dashed, elsewhere, tester} {
		if name := other.NewName(); one.Owns(name) || other != elsewhere && one.HasShape(name) {
			t.Errorf("%s takes %s of %s for its own", one.Unit, name, other.Unit)
		}
	}
	if name := one.NewName(); !one.Owns(name) || !elsewhere.HasShape(name) || len(name) > MaxNameLength {
		t.Errorf("%s is not the name that it should be", name)
	}
	long := Owner{ModelUUID: "m", Unit: "a-very-long-application-name-for-a-github-runner-charm/100"}
	if err := long.Check(); err == nil {
		t.Errorf("%q is not too long", long.NewName())
	}
	if err := one.Check(); err != nil {
		t.Error(err)
	}
}
