package charm

import (
	"fmt"
	"strings"
	"testing"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/takeover"
	"github-runner/lab/slowcloud"
)

func (s *stage) explain() {
	s.Helper()
	s.params = map[string]any{"explain": true}
	s.action("check-runners")
	s.params = nil
}

// expectExplained expects an explanation that has each of these, and the runners
// as they were.
func (s *stage) expectExplained(parts ...string) {
	s.Helper()
	status, message, before := s.status, s.message, fmt.Sprint(s.cloud.Truth(), len(s.github.known))
	s.explain()
	if s.failure != "" {
		s.Errorf("check-runners explain=true fails: %s", s.failure)
	}
	said := s.results["explain"] + "\n" + s.results["explain-jobs"]
	for _, part := range parts {
		if !strings.Contains(said, part) {
			s.Errorf("want %q in\n%s", part, said)
		}
	}
	if s.status != status || s.message != message || fmt.Sprint(s.cloud.Truth(), len(s.github.known)) != before {
		s.Errorf("to explain has changed something: %s %q, %v", s.status, s.message, s.cloud.Truth())
	}
}

func TestExplainNothing(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.expectExplained("2 wanted: 2 idle; nothing is missing", "no job waits", "offers the labels self-hosted, linux, x64")
	if s.results["online"] != "2" || strings.Contains(s.results["explain"], "\n") {
		t.Errorf("the results are %v", s.results)
	}
	s.action("check-runners")
	if _, said := s.results["explain"]; said {
		t.Errorf("unasked, the results are %v", s.results)
	}
}

func TestExplainTrouble(t *testing.T) {
	tests := []struct {
		name string
		// before and after the unit is configured, what goes wrong.
		before, after func(*stage)
		want          []string
	}{
		{name: "missing image", before: func(s *stage) {
			s.cloud.AddFault(slowcloud.Fault{Method: "Prepare", Err: runner.Trouble{Advice: "no image for the runners: lxc image copy"}})
		}, want: []string{"2 missing", "no new runner can be made: no image for the runners: lxc image copy"}},
		{name: "no cloud", after: func(s *stage) {
			s.cloud.AddFault(slowcloud.Fault{Method: "List", Err: fmt.Errorf("cannot dial: %w", runner.ErrUnreachable)})
		}, want: []string{"nothing can be seen of the runners, and none is made: cannot list the instances: cannot dial"}},
		{name: "back-off", before: func(s *stage) {
			s.cloud.AddFault(slowcloud.Fault{Method: "Create", Err: fmt.Errorf("disk full: %w", runner.ErrQuota)})
		}, after: func(s *stage) { s.hook("update-status") }, want: []string{"getting a runner failed 2 times in a row: disk full: quota exceeded; backing off until "}},
		{name: "GitHub away", after: func(s *stage) {
			s.github.err = fmt.Errorf("cannot dial: %w", runner.ErrUnreachable)
			s.hook("update-status")
		},
			want: []string{"2 wanted: 2 unknown; whether one is missing is not known", "GitHub does not tell of the runners since ", "whether jobs wait is not known while GitHub does not answer", "offers the labels"}},
		{name: "being removed", after: func(s *stage) {
			s.cloud.AddFault(slowcloud.Fault{Method: "Destroy", Err: runner.ErrBusy})
			if err := s.call(juju.KindHook, "stop"); err == nil {
				s.Fatal("stop succeeds although something is left")
			}
		}, want: []string{"the unit is being removed"}},
		{name: "drained", after: func(s *stage) { s.action("drain-runners") },
			want: []string{"drained since 20", "virtual-machines=2 is not looked at: juju run github-runner/0 drain-runners resume=true", "0 wanted: none there"}},
		{name: "bad configuration", after: func(s *stage) { s.config["path"] = "a b" },
			want: []string{"the configuration is not applied, the last valid one is in force: ", `path "a b"`, "2 wanted"}},
		{name: "jobs for others", after: func(s *stage) {
			s.queue.Jobs = []runner.QueuedJob{{Name: "train", Workflow: "CI", RunID: 7, Labels: []string{"self-hosted", "gpu"}}}
		}, want: []string{`for the label "gpu", which no runner of this unit offers`}},
		{name: "no permission to see jobs", after: func(s *stage) {
			s.queueErr = runner.Trouble{Advice: "give the token the right", Err: runner.ErrForbidden}
		},
			want: []string{"whether jobs wait is not known: give the token the right"}},
		{name: "an organisation", after: func(s *stage) { s.config["path"], s.config["group"] = "acme", "builders"; s.hook("config-changed") },
			want: []string{"GitHub has no list of the jobs that wait in an organisation", "may use the runner group builders", "offers the labels"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			if test.before != nil {
				test.before(s)
			}
			s.hook("config-changed")
			if test.after != nil {
				test.after(s)
			}
			s.expectExplained(test.want...)
		})
	}
}

func TestExplainDetaching(t *testing.T) {
	s := newStage(t)
	s.storage = t.TempDir()
	s.hook("config-changed")
	if err := s.cloud.TakeJob(s.cloud.Truth()[0].Name); err != nil {
		t.Fatal(err)
	}
	if err := s.call(juju.KindHook, "runner-storage-detaching"); err == nil {
		t.Fatal("the storage goes under a busy runner")
	}
	s.expectExplained("storage runner/0 is being detached, virtual-machines=2 is not looked at")
}

func TestExplainWithoutAConfiguration(t *testing.T) {
	s := newStage(t)
	delete(s.config, "path")
	s.hook("config-changed")
	s.expectExplained("the configuration must be mended first: ", "path is missing")
}

func TestExplainTheFormerCharm(t *testing.T) {
	s := newStage(t)
	s.former = &former{stage: s, runners: takeover.Runners{Busy: named("old", 1)}}
	s.hook("config-changed")
	s.expectExplained("taking over: ", "1 wanted: 1 idle; nothing is missing")
}
