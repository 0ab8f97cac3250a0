package charm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/state"
)

func crewOf(wanted int, verdicts ...runner.Verdict) runner.Result {
	result := runner.Result{Wanted: wanted}
	for _, verdict := range verdicts {
		result.View.Runners = append(result.View.Runners, runner.Info{Verdict: verdict})
	}
	return result
}

func TestStatusOf(t *testing.T) {
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		result runner.Result
		err    error
		want   appearance
	}{
		{"steady", crewOf(5, runner.Idle, runner.Idle, runner.Idle, runner.Busy, runner.Busy), nil,
			appearance{juju.Active, "5 runners: 3 idle, 2 busy"}},
		{"one", crewOf(1, runner.Idle), nil, appearance{juju.Active, "1 runner: 1 idle"}},
		{"none", crewOf(0), nil, appearance{juju.Active, "0 runners"}},
		{"on their way out", crewOf(2, runner.Idle, runner.Finishing, runner.Deleting), nil,
			appearance{juju.Active, "1 of 2 runners: 1 idle, 1 finishing, 1 deleting"}},
		{"some still starting", crewOf(3, runner.Idle, runner.Starting, runner.Starting), nil,
			appearance{juju.Active, "3 runners: 1 idle, 2 starting"}},
		{"all still starting", crewOf(3, runner.Starting, runner.Starting), nil,
			appearance{juju.Maintenance, "starting runners 0/3"}},
		{"revoked token", crewOf(0), fmt.Errorf("cannot list: %w", runner.Trouble{Advice: "check the option token", Err: runner.ErrUnauthorized}),
			appearance{juju.Blocked, "check the option token: unauthorized"}},
		{"something of LXD's is missing", crewOf(0), fmt.Errorf("cannot use the network: %w", runner.ErrNotFound),
			appearance{juju.Waiting, "cannot use the network: not found"}},
		{"no GitHub there", crewOf(0), runner.Trouble{Advice: "check the option github-url if this lasts", Err: runner.ErrUnreachable},
			appearance{juju.Waiting, "check the option github-url if this lasts: unreachable"}},
		{"rate limit", crewOf(1, runner.Unknown), fmt.Errorf("cannot list: %w", runner.RateLimited{By: "GitHub", Until: noon}),
			appearance{juju.Waiting, "GitHub answers again at 12:00:00 UTC: rate limit (1 runner: 1 unknown)"}},
		{"away", crewOf(0), fmt.Errorf("cannot list: %w", runner.ErrUnreachable),
			appearance{juju.Waiting, "cannot list: unreachable"}},
		{"missing image", crewOf(0), fmt.Errorf("cannot prepare: %w", runner.Trouble{Advice: "run lxc image copy", Err: errors.New("no image")}),
			appearance{juju.Blocked, "run lxc image copy: no image"}},
		{"labels that GitHub does not take", crewOf(0), runner.Trouble{Advice: "check the option labels", Err: runner.ErrInvalid},
			appearance{juju.Blocked, "check the option labels: not accepted"}},
		{"the same, remembered", crewOf(0), runner.Trouble{Advice: "check the option labels", Err: fmt.Errorf("%w after %w", runner.ErrBackingOff, runner.ErrInvalid)},
			appearance{juju.Blocked, "check the option labels: backing off after not accepted"}},
		{"failed start", crewOf(2, runner.Idle), runner.Trouble{Advice: "runner x ended", Err: runner.ErrFailedStart},
			appearance{juju.Waiting, "runner x ended: runners do not start (1 of 2 runners: 1 idle)"}},
		{"backing off", runner.Result{Wanted: 1, Held: runner.Setback{Count: 2, Until: noon}}, runner.Trouble{Advice: "disk full", Err: runner.ErrBackingOff},
			appearance{juju.Waiting, "disk full: backing off; next try after 12:00:00 UTC"}},
		{"many at once", crewOf(0), errors.Join(errors.New("a"), errors.New("a"), errors.New("b")),
			appearance{juju.Waiting, "a; b"}},
		{"nobody at the socket", crewOf(0), errors.Join(
			errors.New(`cannot list networks: Get "/1.0/networks": dial unix /lxd/unix.socket: no such file`),
			errors.New(`cannot list instances: Get "/1.0/instances": dial unix /lxd/unix.socket: no such file`),
			errors.New(`cannot list runners: Get "/runners": dial tcp 192.0.2.1:443: connection refused`)),
			appearance{juju.Waiting, `cannot list networks: Get "/1.0/networks": dial unix /lxd/unix.socket: no such file; ` +
				`cannot list runners: Get "/runners": dial tcp 192.0.2.1:443: connection refused`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := statusOf(test.result, test.err)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(appearance{})); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlockedNamesTheOption(t *testing.T) {
	problems := state.Problems{{Option: "path", Value: `"a b"`, Fault: "is invalid", Right: "give owner/repository"}}
	want := appearance{juju.Blocked, `path "a b" is invalid: give owner/repository`}
	if got := heldBy(problems); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
