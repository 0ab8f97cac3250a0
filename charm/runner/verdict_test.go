package runner

import "testing"

// TestDecisionTable has a case for every row of the decision table, and for the
// pairs of rows whose order matters.
func TestDecisionTable(t *testing.T) {
	tests := []struct {
		name  string
		facts facts
		want  Verdict
	}{
		{"being deleted", facts{status: StatusDeleting, seen: sightBusy, working: WorkingYes}, Deleting},
		{"files only", facts{status: StatusTraces, seen: sightOffline}, Traces},
		{"stopped, still registered", facts{status: StatusStopped, seen: sightOffline, booting: true}, Dead},
		{"stopped in the middle of a job", facts{status: StatusStopped, seen: sightBusy}, Dead},
		{"stopped while GitHub is away", facts{status: StatusStopped, seen: sightNone}, Dead},
		{"failed", facts{status: StatusError, seen: sightGone}, Dead},
		{"running, GitHub away", facts{status: StatusRunning, seen: sightNone}, Unknown},
		{"creating, GitHub away", facts{status: StatusCreating, seen: sightNone, booting: true}, Unknown},
		{"running, registration gone", facts{status: StatusRunning, seen: sightGone, working: WorkingYes}, Finishing},
		{"creating, registration gone", facts{status: StatusCreating, seen: sightGone, booting: true}, Finishing},
		{"busy", facts{status: StatusRunning, seen: sightBusy}, Busy},
		{"busy while booting", facts{status: StatusCreating, seen: sightBusy, booting: true}, Busy},
		{"busy flag lags", facts{status: StatusRunning, seen: sightOnline, working: WorkingYes}, Busy},
		{"offline in the middle of a job", facts{status: StatusRunning, seen: sightOffline, working: WorkingYes}, Busy},
		{"idle", facts{status: StatusRunning, seen: sightOnline, working: WorkingNo}, Idle},
		{"idle, cloud can't tell", facts{status: StatusRunning, seen: sightOnline}, Idle},
		{"booting", facts{status: StatusRunning, seen: sightOffline, booting: true}, Starting},
		{"creating", facts{status: StatusCreating, seen: sightOffline, booting: true}, Starting},
		{"ended before it came online", facts{status: StatusRunning, seen: sightOffline, working: WorkingNo, booting: true, ended: true}, Dead},
		{"said that it ended, in the middle of a job", facts{status: StatusRunning, seen: sightOffline, working: WorkingYes, ended: true}, Busy},
		{"said that it ended, and is online", facts{status: StatusRunning, seen: sightOnline, ended: true}, Idle},
		{"offline just after GitHub came back", facts{status: StatusRunning, seen: sightOffline, agesHold: true}, Unknown},
		{"never came online", facts{status: StatusRunning, seen: sightOffline, working: WorkingNo}, Lost},
		{"never came online, cloud can't tell", facts{status: StatusRunning, seen: sightOffline}, Lost},
		{"creating for too long", facts{status: StatusCreating, seen: sightOffline}, Lost},
		{"a status that no cloud should have", facts{status: "paused", seen: sightOnline}, Unknown},
	}
	used := map[int]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := judge(test.facts); got != test.want {
				t.Errorf("judge(%+v) = %s, want %s", test.facts, got, test.want)
			}
		})
		for i, row := range decisions() {
			if row.holds(test.facts) {
				used[i] = true
				break
			}
		}
	}
	if len(used) != len(decisions()) {
		t.Errorf("only %d of %d rows of the table decide a test", len(used), len(decisions()))
	}
}
