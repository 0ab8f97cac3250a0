package runner

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReasons(t *testing.T) {
	since := func(minutes int) func(*Info) {
		return func(i *Info) { i.Since = epoch.Add(-time.Duration(minutes) * time.Minute) }
	}
	setback := func(count int, until time.Time, reason string) Memory {
		return Memory{Setbacks: map[string]Setback{failStart: {Count: count, Until: until, Reason: reason}}}
	}
	tests := []struct {
		name       string
		runners    []Info
		orphans    []Info
		count      int
		memory     Memory
		away       error
		hindrances []error
		want       []string
	}{
		{name: "nothing is missing", runners: []Info{info(1, Idle), info(2, Busy)}, count: 2, hindrances: []error{nil, nil},
			want: []string{"2 wanted: 1 idle, 1 busy; nothing is missing"}},
		{name: "none wanted, none there", want: []string{"0 wanted: none there; nothing is missing"}},
		{name: "nothing in the way", count: 2, want: []string{
			"2 wanted: none there; 2 missing",
			"nothing stands in the way of what is missing: the next reconcile starts it, the action reconcile-runners now"}},
		{name: "too many", runners: []Info{info(1, Busy), info(2, Busy), info(3, Idle)}, count: 1,
			want: []string{"1 wanted: 1 idle, 2 busy; 2 too many, which go once they are free"}},
		{name: "starting", runners: []Info{info(1, Starting), info(2, Starting)}, count: 2, want: []string{
			"2 wanted: 2 starting; nothing is missing",
			"starting: r1 since 11:59:00 UTC, r2 since 11:58:00 UTC: each has to be online within 8 minutes of that"}},
		{name: "all busy", runners: []Info{info(1, Busy)}, count: 1, want: []string{
			"1 wanted: 1 busy; nothing is missing",
			"no runner is free: the next job waits until one has ended, or for more by the option virtual-machines"}},
		{name: "all busy, and none wanted", runners: []Info{info(1, Busy)}, count: 0, want: []string{
			"0 wanted: 1 busy; what is there goes once it is free",
			"no runner is free, and none is wanted: the next job waits until some are"}},
		{name: "a back-off, with the last words of who failed", count: 3, runners: []Info{info(1, Idle)},
			memory: setback(4, epoch.Add(time.Minute), "runner x ended without taking a job; it left: no libicu\nstopped"),
			want: []string{
				"3 wanted: 1 idle; 2 missing",
				"getting a runner failed 4 times in a row: runner x ended without taking a job; it left: no libicu; stopped; backing off until 12:01:00 UTC, unless the action reconcile-runners is run"}},
		{name: "a back-off that is over", count: 1, memory: setback(1, epoch, "no room"), want: []string{
			"1 wanted: none there; 1 missing",
			"getting a runner failed once: no room; the next reconcile tries with one, and goes on if it does well"}},
		{name: "a setback that was overcome by chance keeps nobody", count: 1, runners: []Info{info(1, Idle)}, memory: setback(1, epoch, "no room"),
			want: []string{"1 wanted: 1 idle; nothing is missing"}},
		{name: "no image, no group", count: 1,
			hindrances: []error{Trouble{Advice: "no image for the runners: lxc image copy"}, Trouble{Advice: "set the option group", Err: ErrNotFound}},
			want: []string{
				"1 wanted: none there; 1 missing",
				"no new runner can be made: no image for the runners: lxc image copy",
				"no new runner can be made: set the option group: not found"}},
		{name: "no image, and nobody is missing", count: 1, runners: []Info{info(1, Idle)}, hindrances: []error{errors.New("no image")}, want: []string{
			"1 wanted: 1 idle; nothing is missing",
			"no new runner can be made: no image"}},
		{name: "rate limit", count: 2, runners: []Info{info(1, Unknown)}, away: fmt.Errorf("cannot list: %w", RateLimited{Until: epoch.Add(time.Hour)}), want: []string{
			"2 wanted: 1 unknown; 1 missing",
			"GitHub's rate limit: it answers again at 13:00:00 UTC; no runner is made or removed until then",
			"unknown: r1: it can't be judged while GitHub does not tell of it; it counts, so none is made in its place"}},
		{name: "GitHub away since yesterday", count: 1, away: errors.New("cannot dial"),
			memory: Memory{Seen: map[string]time.Time{signSilent.key(home.String()): epoch.Add(-24 * time.Hour)}},
			want: []string{
				"1 wanted: none there; 1 missing",
				"GitHub does not tell of the runners since 2026-10-31 12:00 UTC, so none is made or removed: cannot dial"}},
		{name: "token refused just now", count: 1, away: Trouble{Advice: "check the option token", Err: ErrUnauthorized},
			memory: Memory{Seen: map[string]time.Time{signSilent.key(home.String()): epoch}},
			want: []string{
				"1 wanted: none there; 1 missing",
				"GitHub does not tell of the runners, so none is made or removed: check the option token: unauthorized"}},
		{name: "on their way out", count: 1, runners: []Info{info(1, Idle), info(2, Finishing, since(3)), info(3, Deleting, since(1)), info(4, Dead), info(5, Lost)}, orphans: []Info{info(6, Orphan, since(2))}, want: []string{
			"1 wanted: 1 idle, 1 finishing, 1 lost, 1 dead, 1 deleting, 1 registered without a machine; nothing is missing",
			"lost: r5: it never came online, or went away; it does not count, and is removed",
			"dead: r4: it has a machine that has stopped; it does not count, and is removed",
			"finishing: r2 since 11:57:00 UTC: it has no registration any more, and is at the end of its job; it does not count, and is in nobody's way",
			"deleting: r3 since 11:59:00 UTC: it is being deleted; it does not count, and is in nobody's way",
			"orphan: r6 since 11:58:00 UTC: it is still registered without a machine; that is tried again, and is in nobody's way"}},
		{name: "outdated", count: 2, runners: []Info{info(1, Idle, old), info(2, Idle)}, want: []string{
			"2 wanted: 2 idle; nothing is missing",
			"outdated: 1 runner that is idle is replaced"}},
		{name: "foreign", runners: []Info{info(1, Foreign)}, want: []string{
			"0 wanted: 1 foreign; nothing is missing",
			"foreign: r1: it has the name of a runner of this unit and is not one; it is left alone"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := findings{
				view:       View{Now: epoch, Runners: test.runners, Orphans: test.orphans},
				memory:     test.memory,
				want:       Want{Count: test.count, Scope: home},
				deadline:   8 * time.Minute,
				hindrances: test.hindrances,
			}
			if test.away != nil {
				f.view.Away = map[Scope]error{home: test.away}
			}
			if diff := cmp.Diff(test.want, f.reasons()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// GitHub is silent from the first look that it does not answer to the next that it
// does.
func TestSinceWhenGitHubIsSilent(t *testing.T) {
	silent := func(at time.Time, away error, memory Memory) Memory {
		world := World{Now: at, Registrations: map[Scope][]Registration{home: {}}}
		if away != nil {
			world.Registrations, world.Away = nil, map[Scope]error{home: away}
		}
		_, memory = observe(world, Owner{Unit: "github-runner/0"}, Template{Want: Want{Scope: home}}, memory, DefaultLimits(2))
		return memory
	}
	away := errors.New("away")
	memory := silent(epoch, away, Memory{})
	memory = silent(epoch.Add(24*time.Hour), away, memory)
	if since, ok := memory.when(signSilent, home.String()); !ok || !since.Equal(epoch) {
		t.Errorf("silent since %v, want %v", since, epoch)
	}
	memory = silent(epoch.Add(25*time.Hour), nil, memory)
	if since, ok := memory.when(signSilent, home.String()); ok {
		t.Errorf("GitHub answers and is silent since %v", since)
	}
}

func TestQueueReasons(t *testing.T) {
	offered := []string{"self-hosted", "linux", "x64", "jammy"}
	job := func(run int64, labels ...string) QueuedJob {
		return QueuedJob{Name: "build", Workflow: "CI", RunID: run, Labels: labels, Since: epoch.Add(-time.Duration(run) * time.Minute)}
	}
	tests := []struct {
		name  string
		queue Queue
		want  []string
	}{
		{"none", Queue{}, []string{"no job waits"}},
		{"one that fits, whatever its letters", Queue{Jobs: []QueuedJob{job(1, "Self-Hosted", "X64")}}, []string{
			`1 job waits for a free runner such as this unit's, since 11:59:00 UTC: "build" of workflow "CI" in run 1`}},
		{"the oldest of several", Queue{Jobs: []QueuedJob{job(1, "self-hosted"), job(7, "self-hosted")}}, []string{
			`2 jobs wait for a free runner such as this unit's, since 11:53:00 UTC: "build" of workflow "CI" in run 1, "build" of workflow "CI" in run 7`}},
		{"labels that are missing", Queue{Jobs: []QueuedJob{job(1, "self-hosted", "gpu"), job(2, "self-hosted", "gpu", "arm64")}}, []string{
			`1 job waits for the label "gpu", which no runner of this unit offers, since 11:59:00 UTC: "build" of workflow "CI" in run 1`,
			`1 job waits for the labels "gpu", "arm64", which no runner of this unit offers, since 11:58:00 UTC: "build" of workflow "CI" in run 2`}},
		{"GitHub's own runners", Queue{Jobs: []QueuedJob{job(1, "ubuntu-latest")}}, []string{
			`1 job waits for GitHub's own runners, since 11:59:00 UTC: "build" of workflow "CI" in run 1`}},
		{"not all seen", Queue{Unseen: 3}, []string{"3 more workflow runs were not looked into, in which jobs may wait"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.queue.Reasons(offered, epoch)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
