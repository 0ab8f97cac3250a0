package services

import (
	"testing"
	"time"

	"github.com/canonical/pebble/client"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestPlan(t *testing.T) {
	const (
		active   = client.StatusActive
		inactive = client.StatusInactive
		backoff  = client.StatusBackoff
	)
	agentAlone := Want{Agent: true}
	tests := []struct {
		name string
		want Want
		is   sight
		do   []step
	}{
		{"runs", agentAlone, sight{status: active}, nil},
		{"never ran", agentAlone, sight{status: inactive}, []step{{verb: start, name: Agent}}},
		{"is not known yet", agentAlone, sight{}, []step{{verb: start, name: Agent}}},
		{"ended", agentAlone, sight{status: backoff}, []step{{start, Agent, "the resident agent had ended and was started again"}}},
		{"could not be started", agentAlone, sight{status: client.StatusError}, []step{{start, Agent, "the resident agent had ended and was started again"}}},
		{"ended, and its check fails", agentAlone, sight{status: backoff, down: true}, []step{{start, Agent, "the resident agent had ended and was started again"}}},
		{"does not answer", agentAlone, sight{status: active, down: true}, []step{{restart, Agent, "the resident agent did not answer and was started again"}}},
		{"is of another build", agentAlone, sight{status: active, outdated: true}, []step{{verb: restart, name: Agent}}},
		{"is of another build and does not answer", agentAlone, sight{status: active, outdated: true, down: true}, []step{{verb: restart, name: Agent}}},
		{"is not wanted", Want{}, sight{status: active}, []step{{verb: stop, name: Agent}}},
		{"is not wanted and waits", Want{}, sight{status: backoff}, []step{{verb: stop, name: Agent}}},
		{"is not wanted and was outdated", Want{}, sight{status: inactive, outdated: true}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := plan(test.want, map[string]sight{Agent: test.is})
			if diff := cmp.Diff(test.do, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// A service that Pebble has just started again is not started once more.
func TestWasAsked(t *testing.T) {
	for _, test := range []struct {
		name string
		ran  time.Duration
		want bool
	}{
		{Policy, 0, false},
		{Policy, 15 * time.Second, false},
		{Policy, 17 * time.Second, true},
		{Agent, 35 * time.Second, false},
		{Agent, 37 * time.Second, true},
	} {
		if got := wasAsked(test.name, test.ran); got != test.want {
			t.Errorf("after %v the %s was asked: %v", test.ran, test.name, got)
		}
	}
}

func TestLayerSaysWhatRunsAndHow(t *testing.T) {
	u := &Unit{key: "github-runner-0-ab12", program: "/var/lib/juju/agents/unit-github-runner-0/charm/github-runner", lxdDir: "/lab/lxd"}
	data, err := u.layer(Want{Policy: true})
	must(t, err)
	var got layer
	must(t, yaml.Unmarshal(data, &got))
	const program = "/var/lib/juju/agents/unit-github-runner-0/charm/github-runner"
	env := map[string]string{"PATH": searchPath, "LXD_DIR": "/lab/lxd", "NOTIFY_SOCKET": ""}
	want := layer{
		Summary: "Services of the GitHub runner unit github-runner-0-ab12",
		Services: map[string]layerService{
			"agent": {
				Override: "replace", Summary: "The unit's resident agent", Startup: "disabled", Environment: env,
				Command:        program + " agent --unit github-runner-0-ab12",
				OnCheckFailure: map[string]string{"agent": "restart"},
				BackoffDelay:   "1s", BackoffFactor: 2, BackoffLimit: "10m0s", KillDelay: "10s",
			},
			"repo-policy": {
				Override: "replace", Summary: "The unit's policy service", Startup: "enabled", Environment: env,
				Command:        program + " policy --unit github-runner-0-ab12",
				OnCheckFailure: map[string]string{"repo-policy": "restart"},
				BackoffDelay:   "1s", BackoffFactor: 2, BackoffLimit: "15s", KillDelay: "10s",
			},
		},
		Checks: map[string]layerCheck{
			"agent": {
				Override: "replace", Startup: "disabled", Period: "30s", Timeout: "6s", Threshold: 3,
				Exec: layerExec{program + " health agent --unit github-runner-0-ab12", "agent"},
			},
			"repo-policy": {
				Override: "replace", Startup: "enabled", Period: "10s", Timeout: "6s", Threshold: 3,
				Exec: layerExec{program + " health repo-policy --unit github-runner-0-ab12", "repo-policy"},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestCommandQuotes(t *testing.T) {
	if got, want := command([]string{"/a b/it's", "agent", "--unit", "x-1"}), `'/a b/it'\''s' agent --unit x-1`; got != want {
		t.Errorf("command: %s, want %s", got, want)
	}
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	tests := []struct {
		health Health
		want   string
	}{
		{Health{Name: Agent, Running: true, Healthy: true}, ""},
		{Health{Name: Policy, Running: true}, "the policy service does not answer"},
		{Health{Name: Agent}, "the resident agent does not run"},
		{Health{Name: Agent, Last: []string{"one", "two"}}, "the resident agent does not run: two"},
	}
	for _, test := range tests {
		if got := test.health.String(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.health, got, test.want)
		}
	}
}
