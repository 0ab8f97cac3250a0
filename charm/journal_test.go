package charm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github-runner/charm/metrics"
	"github-runner/charm/runner"
)

// tellingJobs tells of every job after a time, to who still asks.
type tellingJobs struct {
	takes time.Duration
}

func (j tellingJobs) Job(ctx context.Context, _ runner.Scope, _ metrics.PreJob, _ string) (metrics.Job, error) {
	select {
	case <-ctx.Done():
		return metrics.Job{}, ctx.Err()
	case <-time.After(j.takes):
		return metrics.Job{Conclusion: "success"}, nil
	}
}

// An agent that gives way to a hook has asked about a runner's job for the last time.
func TestJournalOutlastsACall(t *testing.T) {
	for _, test := range []struct {
		name  string
		takes time.Duration
		told  bool
	}{
		{"GitHub answers", 100 * time.Millisecond, true},
		{"GitHub hangs", time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "var/log/github-runner-metrics.log")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				journal := Journal{Flavor: "runners", File: metrics.NewLog(root), Jobs: tellingJobs{test.takes}, Log: quiet()}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				began := time.Now()
				journal.Ended(ctx, runner.Info{}, runner.Remains{
					PreJob:  []byte(`{"timestamp": 1796042299.9, "workflow": "CI", "workflow_run_id": "7", "repository": "acme/widgets", "event": "push"}`),
					PostJob: []byte(`{"timestamp": 1796042301.1, "status": "normal", "status_info": {"code": 0}}`),
				}, began)
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("who waits for the unit waits %v", took)
				}
			})
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if told := strings.Contains(string(written), `"job_conclusion": "success"`); told != test.told || !strings.Contains(string(written), "runner_stop") {
				t.Errorf("the log has\n%s", written)
			}
		})
	}
}
