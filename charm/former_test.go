package charm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/takeover"
	"github-runner/lab/slowcloud"
)

// former are runners of another charm. Those that are free go when they are told
// to, but for the ones that take a job just then.
type former struct {
	stage   *stage
	runners takeover.Runners
	refuse  bool
	err     error

	// released are the sizes of the batches, with how many of ours were online.
	released []string
	tidied   int
}

func (f *former) Look(context.Context) (takeover.Runners, error) {
	if f.err != nil {
		return takeover.Runners{}, f.err
	}
	return f.runners, nil
}

func (f *former) Release(_ context.Context, most int) (takeover.Runners, error) {
	if most > 0 {
		f.released = append(f.released, fmt.Sprintf("%d after %d", most, len(f.stage.cloud.Truth())))
	}
	if f.err != nil {
		return takeover.Runners{}, f.err
	}
	if f.refuse {
		most = 0
	}
	f.runners.Free = f.runners.Free[min(most, len(f.runners.Free)):]
	return f.runners, nil
}

func (f *former) RemoveAll(context.Context) (int, []string, error) {
	removed := len(f.runners.Names())
	f.runners = takeover.Runners{}
	return removed, nil, f.err
}

func (f *former) Tidy(context.Context) error {
	f.tidied++
	return nil
}

func named(prefix string, count int) []string {
	var names []string
	for n := range count {
		names = append(names, fmt.Sprintf("%s-%d", prefix, n))
	}
	return names
}

func withFormer(t *testing.T, wanted, free, busy int) (*stage, *former) {
	s := newStage(t)
	s.config["virtual-machines"] = int64(wanted)
	s.former = &former{stage: s, runners: takeover.Runners{Free: named("free", free), Busy: named("busy", busy)}}
	return s, s.former
}

func TestFormerRunnersAreReplacedAFewAtATime(t *testing.T) {
	for _, test := range []struct {
		wanted, free, busy int
		released           string
		machines           int
		status             string
	}{
		{1, 1, 0, "1 after 1", 1, "1 runner: 1 idle"},
		{3, 3, 0, "1 after 1, 1 after 2, 1 after 3", 3, "3 runners: 3 idle"},
		{8, 8, 0, "2 after 2, 2 after 4, 2 after 6, 2 after 8", 8, "8 runners: 8 idle"},
		{3, 2, 1, "1 after 1, 1 after 2", 2, "2 runners: 2 idle; taking over: 1 runner of the previous charm is still busy"},
		{2, 0, 2, "", 0, "0 runners; taking over: 2 runners of the previous charm are still busy"},
		// Fewer are wanted than there were.
		{1, 3, 0, "2 after 0, 1 after 1", 1, "1 runner: 1 idle"},
		{0, 2, 0, "2 after 0", 0, "0 runners"},
		// More are wanted: there is room for them.
		{4, 1, 0, "1 after 4", 4, "4 runners: 4 idle"},
		{4, 0, 0, "", 4, "4 runners: 4 idle"},
	} {
		t.Run(fmt.Sprintf("%d wanted, %d free, %d busy", test.wanted, test.free, test.busy), func(t *testing.T) {
			s, f := withFormer(t, test.wanted, test.free, test.busy)
			s.hook("upgrade-charm")
			if got := strings.Join(f.released, ", "); got != test.released {
				t.Errorf("let go of %q, want %q", got, test.released)
			}
			s.expectMachines(test.machines)
			s.expectStatus(juju.Active, test.status)
			if f.tidied == 0 {
				t.Error("nothing was tidied")
			}
		})
	}
}

// A runner that works is not given up for one that can't be made.
func TestFormerRunnersStayWhereNoneCanBeMade(t *testing.T) {
	s, f := withFormer(t, 3, 2, 1)
	s.cloud.AddFault(slowcloud.Fault{Method: "Prepare", Err: runner.Trouble{Advice: "no image for the runners"}, Times: 100})
	s.hook("upgrade-charm")
	s.expectStatus(juju.Blocked, "no image for the runners")
	s.expectStatus(juju.Blocked, "taking over: 3 runners of the previous charm are left, 1 of them busy")
	if f.released != nil {
		t.Errorf("let go of %v", f.released)
	}
}

func TestFormerRunnersThatTakeJobsAreNotPressed(t *testing.T) {
	s, f := withFormer(t, 2, 2, 0)
	f.refuse = true
	s.hook("upgrade-charm")
	if len(f.released) != 1 {
		t.Errorf("let go of %v", f.released)
	}
	s.expectMachines(1)
}

func TestFormerRunnersThatCannotBeSeen(t *testing.T) {
	s, f := withFormer(t, 2, 2, 0)
	f.err = fmt.Errorf("LXD is %w", runner.ErrUnreachable)
	s.hook("upgrade-charm")
	s.expectStatus(juju.Waiting, "LXD is unreachable")
	if len(f.released) != 0 {
		t.Errorf("let go of %v", f.released)
	}
	s.action("flush-runners")
	if !strings.Contains(s.results["warning"], "unreachable") {
		t.Errorf("flush-runners: %v", s.results)
	}
	s.expectMachines(0)
	s.action("check-runners")
	if !strings.Contains(s.failure, "unreachable") {
		t.Errorf("check-runners: %q", s.failure)
	}
}

func TestFormerRunnersInActions(t *testing.T) {
	s, f := withFormer(t, 2, 0, 1)
	s.hook("upgrade-charm")
	s.action("check-runners")
	if s.results["former-runners"] != "busy-0" || s.results["online"] != "1" {
		t.Errorf("check-runners: %v", s.results)
	}
	s.github.err = fmt.Errorf("GitHub is %w", runner.ErrUnreachable)
	s.params = map[string]any{"mode": "flush-busy"}
	s.action("flush-runners")
	if len(f.runners.Busy) != 1 || s.results["flushed"] != "0" || s.results["former-runners"] != "busy-0" {
		t.Errorf("a busy flush without GitHub: %v", s.results)
	}
	s.github.err = nil
	s.params = map[string]any{"mode": "flush-idle"}
	s.action("flush-runners")
	if s.results["flushed"] != "1" || s.results["former-runners"] != "busy-0" {
		t.Errorf("an idle flush: %v", s.results)
	}
	if f.tidied != 3 {
		t.Errorf("got %d times tidied after a hook and two flushes, want 3: the agent rests until nothing is left", f.tidied)
	}
	s.params["mode"] = "flush-busy"
	s.action("flush-runners")
	if s.results["flushed"] != "2" || s.results["former-runners"] != "" || len(f.runners.Names()) != 0 {
		t.Errorf("a busy flush: %v", s.results)
	}
	s.expectMachines(2)
}

func TestStopEndsATakeover(t *testing.T) {
	s, f := withFormer(t, 2, 1, 1)
	s.hook("stop")
	s.expectNothingLeft()
	if len(f.runners.Names()) != 0 || f.tidied != 1 {
		t.Errorf("left are %v, tidied %d times", f.runners.Names(), f.tidied)
	}
	s.former.err = errors.New("no")
	if err := s.call(juju.KindHook, "stop"); err == nil {
		t.Error("stop succeeds although the previous charm's runners may be left")
	}
}

// The token of the Python charm may be the only one that sees its runners.
func TestTokenOfTheFormerCharmIsUsed(t *testing.T) {
	s := newStage(t)
	s.charmDir = t.TempDir()
	state := `{"charm_config": {"path": {"owner": "acme", "repo": "old"}, "token": "ghp_old"}}`
	if err := os.WriteFile(filepath.Join(s.charmDir, "charm_state.json"), []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
	s.hook("upgrade-charm")
	if former := s.formerly[runner.Scope{API: "https://api.github.com", Path: "acme/old"}]; former.Token.Reveal() != "ghp_old" {
		t.Errorf("credentials of former paths are %v", s.formerly)
	}
}

// Back and forth, with a bad configuration in between.
func TestARefreshLooksAgain(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.known = &takeover.Memory{Done: true}
	s.hook("update-status")
	s.hook("update-status")
	if !s.recalled.Done {
		t.Error("a takeover that ended is not remembered")
	}
	path := s.config["path"]
	s.config["path"] = ""
	s.hook("upgrade-charm")
	s.config["path"] = path
	s.hook("config-changed")
	if s.recalled.Done {
		t.Error("a refresh does not look for the previous charm again")
	}
}
