package policy_test

import (
	"testing"

	"github-runner/charm/policy"
	"github-runner/lab/pythoncharm"
)

// A unit that was refreshed from the Python charm has that charm's service, at all
// addresses, for as long as its last runner is busy.
func TestPortIsNotTheFormerCharms(t *testing.T) {
	if policy.Port == pythoncharm.PolicyPort {
		t.Errorf("port %d is taken while the unit takes over", policy.Port)
	}
}
