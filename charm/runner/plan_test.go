package runner

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

var home = Scope{API: "https://api.github.com", Path: "acme/widgets"}

// info makes a runner whose name says how old it is: "r10" is 10 minutes old.
func info(age int, verdict Verdict, change ...func(*Info)) Info {
	i := Info{Verdict: verdict}
	i.Name = fmt.Sprintf("r%d", age)
	i.Created = epoch.Add(-time.Duration(age) * time.Minute)
	i.Scope = home
	i.Working = WorkingNo
	for _, c := range change {
		c(&i)
	}
	return i
}

func old(i *Info)       { i.Outdated = true }
func removable(i *Info) { i.Removable = true }
func works(i *Info)     { i.Working = WorkingYes }
func inFlight(i *Info)  { i.InFlight = true }
func online(i *Info)    { i.Registration.Online = true; i.Since = epoch }

func TestPlan(t *testing.T) {
	tests := []struct {
		name    string
		runners []Info
		orphans []Info
		count   int
		memory  Memory
		away    bool
		want    []string
	}{
		{name: "nothing there", count: 2, want: []string{"create", "create"}},
		{name: "steady", runners: []Info{info(1, Idle), info(2, Busy)}, count: 2},
		{name: "starting and unknown count", runners: []Info{info(1, Starting), info(2, Unknown)}, count: 2},
		{name: "finishing, dead, lost and deleting do not count",
			runners: []Info{info(1, Finishing), info(2, Dead), info(3, Lost), info(4, Deleting)}, count: 1,
			want: []string{"remove r2", "release r3", "create"}},
		{name: "traces are cleaned", runners: []Info{info(1, Traces)}, want: []string{"remove r1"}},
		{name: "foreign ones are left alone", runners: []Info{info(1, Foreign)}, count: 1, want: []string{"create"}},
		{name: "finished", runners: []Info{info(1, Finishing, removable)}, count: 1, want: []string{"remove r1", "create"}},
		{name: "too many: the youngest that starts, then the oldest idle",
			runners: []Info{info(1, Starting), info(2, Starting), info(3, Idle), info(4, Idle), info(5, Busy)}, count: 2,
			want: []string{"release r1", "release r2", "release r4"}},
		{name: "too many: outdated first",
			runners: []Info{info(1, Starting), info(2, Idle), info(3, Idle, old)}, count: 2,
			want: []string{"release r3"}},
		{name: "too many busy ones", runners: []Info{info(1, Busy), info(2, Busy)}, count: 0},
		{name: "too many unknown ones", runners: []Info{info(1, Unknown), info(2, Unknown)}, count: 1},
		{name: "outdated: one of three", runners: []Info{info(1, Idle, old), info(2, Idle, old), info(3, Idle, old)}, count: 3,
			want: []string{"release r3"}},
		{name: "outdated: a quarter of eight", count: 8,
			runners: []Info{info(1, Idle, old), info(2, Idle, old), info(3, Idle, old), info(4, Idle, old), info(5, Idle, old), info(6, Idle, old), info(7, Idle, old), info(8, Idle, old)},
			want:    []string{"release r8", "release r7"}},
		{name: "outdated: the replacement first has to come up",
			runners: []Info{info(1, Starting), info(2, Idle, old), info(3, Idle, old)}, count: 3},
		{name: "outdated: the released one first has to go",
			runners: []Info{info(1, Finishing), info(2, Idle, old)}, count: 2, want: []string{"create"}},
		{name: "outdated: one that took a job after all holds nothing up",
			runners: []Info{info(1, Finishing, works), info(2, Idle, old)}, count: 1, want: []string{"release r2"}},
		{name: "outdated: they stay while no replacement can be made", count: 8,
			runners: []Info{info(1, Idle, old), info(2, Idle, old), info(3, Idle, old), info(4, Idle, old), info(5, Idle, old), info(6, Idle, old)},
			memory:  Memory{Setbacks: map[string]Setback{failNotFound: {Count: 2, Until: epoch.Add(time.Minute)}}}},
		{name: "in flight: what is being created counts", count: 2, runners: []Info{info(0, Starting, inFlight)}, want: []string{"create"}},
		{name: "in flight: nothing is done twice", runners: []Info{info(1, Lost, inFlight), info(2, Starting, inFlight)}},
		{name: "in flight: who is being let go is not one too many once more", count: 2,
			runners: []Info{info(1, Idle, old, inFlight), info(2, Idle), info(3, Idle)}},
		{name: "in flight: who is being let go counts until GitHub agrees", count: 3,
			runners: []Info{info(1, Idle, old, inFlight), info(2, Idle), info(3, Idle)}},
		{name: "in flight: others wait for the one that is being replaced", count: 3,
			runners: []Info{info(1, Idle, old, inFlight), info(2, Idle, old), info(3, Idle, old)}},
		{name: "orphans", orphans: []Info{info(1, Orphan), info(2, Orphan, online)}, want: []string{"deregister r1"}},
		{name: "GitHub away: nothing new, the dead still go", away: true, count: 2,
			runners: []Info{info(1, Dead), info(2, Unknown)}, want: []string{"remove r1"}},
		{name: "backing off", count: 2, runners: []Info{info(1, Dead)},
			memory: Memory{Setbacks: map[string]Setback{failStart: {Count: 2, Until: epoch.Add(time.Second)}}},
			want:   []string{"remove r1"}},
		{name: "one probe", count: 3,
			memory: Memory{Setbacks: map[string]Setback{failStart: {Count: 2, Until: epoch.Add(-time.Second)}}},
			want:   []string{"create"}},
		{name: "the probe is on its way", count: 3, runners: []Info{info(1, Starting)},
			memory: Memory{Setbacks: map[string]Setback{failStart: {Count: 2, Until: epoch.Add(-time.Second)}}}},
		{name: "the probe is online, and has yet to last", count: 3, runners: []Info{info(1, Idle)},
			memory: Memory{Setbacks: map[string]Setback{failStart: {Count: 2, Until: epoch.Add(-time.Second)}}}},
		{name: "one failed to be created, another one is online", count: 3, runners: []Info{info(1, Idle)},
			memory: Memory{Setbacks: map[string]Setback{failTransient: {Count: 1, Until: epoch}}},
			want:   []string{"create"}},
		{name: "one failed to be created beside one that takes its time", count: 3, runners: []Info{info(1, Starting)},
			memory: Memory{Setbacks: map[string]Setback{failTransient: {Count: 1, Until: epoch}}},
			want:   []string{"create"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			view := View{Now: epoch, Runners: test.runners, Orphans: test.orphans}
			if test.away {
				view.Away = map[Scope]error{home: errors.New("away")}
			}
			var got []string
			for _, step := range plan(view, Want{Count: test.count, Scope: home}, test.memory, DefaultLimits(2)) {
				text := string(step.Do)
				if step.Runner.Name != "" {
					text += " " + step.Runner.Name
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBackOffDoublesUpToItsLimit(t *testing.T) {
	var memory Memory
	var waits []time.Duration
	for range 9 {
		memory.fail(failQuota, "full", epoch)
		waits = append(waits, memory.Setbacks[failQuota].Until.Sub(epoch)/time.Second)
	}
	want := []time.Duration{0, 10, 20, 40, 80, 160, 320, 600, 600}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("seconds to wait after each failure (-want +got):\n%s", diff)
	}
	memory.overcome(failQuota)
	if _, found := memory.lastSetback(); found || memory.allowance(3, 0, epoch) != 3 {
		t.Error("a success does not let the brake go")
	}
}
