package metrics

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(seconds float64) time.Time {
	return time.UnixMicro(int64(seconds * 1e6))
}

func pointer[T any](value T) *T {
	return &value
}

// TestLines holds the log's contract: its readers match these very bytes.
func TestLines(t *testing.T) {
	tests := []struct {
		name  string
		event Event
		want  string
	}{
		{
			"installed",
			RunnerInstalled{Timestamp: at(1700000000.25), Flavor: "github-runner", Duration: 42 * time.Second},
			`{"timestamp": 1700000000.25, "event": "runner_installed", "flavor": "github-runner", "duration": 42.0}`,
		},
		{
			"start",
			RunnerStart{
				Timestamp: at(1), Flavor: "f", Workflow: "CI", Repository: "o/r", GithubEvent: "push",
				Idle: 1500 * time.Millisecond, QueueDuration: pointer(3 * time.Second),
			},
			`{"timestamp": 1.0, "event": "runner_start", "flavor": "f", "workflow": "CI", "repo": "o/r", "github_event": "push", "idle": 1.5, "queue_duration": 3.0}`,
		},
		{
			"start without an answer of GitHub",
			RunnerStart{Timestamp: at(1), Flavor: "f", Workflow: "CI", Repository: "o/r", GithubEvent: "push"},
			`{"timestamp": 1.0, "event": "runner_start", "flavor": "f", "workflow": "CI", "repo": "o/r", "github_event": "push", "idle": 0.0}`,
		},
		{
			"stop, as the reference gives it",
			RunnerStop{
				Timestamp: at(1), Flavor: "f", Workflow: "CI", Repository: "o/r", GithubEvent: "push",
				Status: StatusPolicyCheckFailed, StatusCode: pointer(403), JobConclusion: "failure",
			},
			`{"timestamp": 1.0, "event": "runner_stop", "flavor": "f", "workflow": "CI", "repo": "o/r", "github_event": "push", "status": "repo-policy-check-failure", "status_info": {"code": 403}, "job_duration": 0.0, "job_conclusion": "failure"}`,
		},
		{
			"stop without what is not known",
			RunnerStop{Timestamp: at(0), Flavor: "f", Workflow: "", Repository: "o/r", GithubEvent: "push", Status: StatusNormal, JobDuration: time.Hour},
			`{"timestamp": 0.0, "event": "runner_stop", "flavor": "f", "workflow": "", "repo": "o/r", "github_event": "push", "status": "normal", "job_duration": 3600.0}`,
		},
		{
			"reconciliation",
			Reconciliation{Timestamp: at(1e9), Flavor: "f", CrashedRunners: 1, IdleRunners: 20, Duration: time.Microsecond},
			`{"timestamp": 1000000000.0, "event": "reconciliation", "flavor": "f", "crashed_runners": 1, "idle_runners": 20, "duration": 0.000001}`,
		},
		{
			"all that must be escaped",
			RunnerInstalled{Timestamp: at(1), Flavor: "a\"b\\c\nd\te\x01f\x7fgéh😀i</>&"},
			`{"timestamp": 1.0, "event": "runner_installed", "flavor": "a\"b\\c\nd\te\u0001f\u007fg\u00e9h\ud83d\ude00i</>&", "duration": 0.0}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.event.encode().String()); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	pre := PreJob{Timestamp: at(100), Workflow: "CI", Repository: "o/r", Event: "push", RunID: "7"}
	post := PostJob{Timestamp: at(160), Status: StatusNormal}
	start := RunnerStart{Timestamp: at(100), Flavor: "f", Workflow: "CI", Repository: "o/r", GithubEvent: "push"}
	stop := RunnerStop{Timestamp: at(160), Flavor: "f", Workflow: "CI", Repository: "o/r", GithubEvent: "push", Status: StatusNormal, JobDuration: time.Minute}
	tests := []struct {
		name string
		life Life
		want func() []Event
	}{
		{"no job", Life{Installed: at(90)}, func() []Event { return nil }},
		{"an end without a start", Life{PostJob: &post}, func() []Event { return nil }},
		{"nobody saw it come online", Life{PreJob: &pre}, func() []Event { return []Event{start} }},
		{"all is known", Life{
			Installed: at(90), PreJob: &pre, PostJob: &post,
			Job: Job{CreatedAt: at(95), StartedAt: at(99), Conclusion: "success"},
		}, func() []Event {
			start, stop := start, stop
			start.Idle, start.QueueDuration = 10*time.Second, pointer(4*time.Second)
			stop.JobConclusion = "success"
			return []Event{start, stop}
		}},
		{"clocks that run backwards", Life{
			Installed: at(110), PreJob: &pre, PostJob: &PostJob{Timestamp: at(50), Status: StatusNormal},
			Job: Job{CreatedAt: at(99), StartedAt: at(98)},
		}, func() []Event {
			start, stop := start, stop
			start.QueueDuration = pointer(time.Duration(0))
			stop.Timestamp, stop.JobDuration = at(50), 0
			return []Event{start, stop}
		}},
		{"a job that has not started", Life{PreJob: &pre, Job: Job{CreatedAt: at(95)}}, func() []Event { return []Event{start} }},
		{"the ends of time", Life{
			Installed: at(0), PreJob: &PreJob{Timestamp: at(maxTime), Workflow: "CI", Repository: "o/r", Event: "push"},
		}, func() []Event {
			start := start
			start.Timestamp, start.Idle = at(maxTime), math.MaxInt64
			return []Event{start}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.life.Flavor = "f"
			if diff := cmp.Diff(test.want(), Events(test.life)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzQuote proves that whatever a job calls itself stays one JSON string on
// one line, and means the same.
func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "CI", "\x00\n\"\\", "é😀", "\u2028</script>", "\xff\xfe", "\U0010ffff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := quote(s)
		for _, c := range []byte(quoted) {
			if c < ' ' || c > '~' {
				t.Fatalf("quote(%q) = %s has the byte %#x", s, quoted, c)
			}
		}
		var back string
		if err := json.Unmarshal([]byte(quoted), &back); err != nil {
			t.Fatalf("quote(%q) = %s: %v", s, quoted, err)
		}
		if want := string([]rune(s)); back != want {
			t.Errorf("quote(%q) means %q", s, back)
		}
	})
}
