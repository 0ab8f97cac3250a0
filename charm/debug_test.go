package charm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// relations are the databags of the remote units, by relation id and unit.
type relations map[string]map[string]map[string]string

// unreadable is the databag of a unit whose data Juju does not hand out, huge
// one that nobody can use.
var (
	unreadable = map[string]string{"unreadable": ""}
	huge       = map[string]string{"huge": ""}
)

func (s *stage) RelationIDs(_ context.Context, endpoint string) ([]string, error) {
	if endpoint != debugEndpoint && endpoint != imageEndpoint {
		return nil, fmt.Errorf("the charm asked for the relations at %q", endpoint)
	}
	ids := slices.Sorted(maps.Keys(s.relations))
	return slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, endpoint+":") }), nil
}

func (s *stage) RelationUnits(_ context.Context, id string) ([]string, error) {
	return slices.Sorted(maps.Keys(s.relations[id])), nil
}

func (s *stage) RelationUnitData(_ context.Context, id, unit string) (map[string]string, error) {
	if unit == unitOfStage {
		return s.sent[id], nil
	}
	data, ok := s.relations[id][unit]
	_, isUnreadable := data["unreadable"]
	_, isHuge := data["huge"]
	switch {
	case isHuge:
		return nil, &juju.AnswerError{Err: errors.New("cannot use the answer of relation-get: it is longer than 4194304 bytes")}
	case !ok || isUnreadable:
		return nil, &juju.ToolError{Tool: "relation-get", ExitCode: 1, Stderr: "ERROR permission denied"}
	}
	return data, nil
}

func (s *stage) SetRelationData(_ context.Context, id string, data map[string]secret.Text) error {
	for key, text := range data {
		if s.sent[id] == nil {
			s.sent[id] = map[string]string{}
		}
		s.sent[id][key] = text.Reveal()
		if text.IsZero() {
			delete(s.sent[id], key)
		}
	}
	s.writes++
	return s.unwritable
}

func server(host string) map[string]string {
	return map[string]string{
		"host": host, "port": "10022", "rsa_fingerprint": "SHA256:rsa", "ed25519_fingerprint": "SHA256:ed25519",
		"egress-subnets": host + "/32", "ingress-address": host,
	}
}

// relate runs the hook of a relation.
func (s *stage) relate(kind string, about juju.Relation) {
	s.Helper()
	s.about = about
	s.hook(about.Endpoint + "-relation-" + kind)
	s.about = juju.Relation{}
}

func (s *stage) expectServers(want ...string) {
	s.Helper()
	var got []string
	for _, host := range s.wanted.DebugHosts {
		got = append(got, host.Host.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("debug hosts (-want +got):\n%s", diff)
	}
}

func TestDebugServersOfAllRelations(t *testing.T) {
	s := newStage(t)
	s.relations = relations{
		"debug-ssh:1": {"tmate/0": server("192.0.2.1"), "tmate/1": {"host": "192.0.2.9", "ingress-address": "192.0.2.9"}},
		"debug-ssh:4": {"other/0": server("2001:db8::1"), "tmate/0": server("192.0.2.3")},
	}
	s.hook("config-changed")
	s.expectServers("192.0.2.1", "192.0.2.3", "2001:db8::1")
	s.expectStatus(juju.Active, "2 runners: 2 idle")
	if strings.Contains(s.message, "tmate/1") {
		t.Errorf("a unit that is not ready is in the status: %q", s.message)
	}
}

func TestMalformedServerIsTold(t *testing.T) {
	long := strings.Repeat("9", 1<<20)
	tests := map[string]struct {
		data map[string]string
		want string
	}{
		"port":         {map[string]string{"host": "192.0.2.2", "port": "many", "rsa_fingerprint": "SHA256:a", "ed25519_fingerprint": "SHA256:a"}, `port "many" is no number`},
		"long":         {map[string]string{"host": long, "port": long, "rsa_fingerprint": long, "ed25519_fingerprint": long}, "(1048576 characters)"},
		"hostile text": {map[string]string{"host": "a\n'\"$(reboot)", "port": "1", "rsa_fingerprint": "\x00", "ed25519_fingerprint": "`"}, `host "a\n'\"$(reboot)"`},
		"metadata":     {server("169.254.169.254"), "no address of another machine"},
		"unusable":     {huge, `unit "tmate/1" is left out`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.relations = relations{"debug-ssh:1": {"tmate/0": server("192.0.2.1"), "tmate/1": test.data, "tmate/2": server("192.0.2.3")}}
			s.hook("config-changed")
			s.expectServers("192.0.2.1", "192.0.2.3")
			s.expectStatus(juju.Active, "2 runners: 2 idle; debug-ssh: unit \"tmate/1\" is left out: ")
			for _, action := range []string{"check-runners", "reconcile-runners", "flush-runners"} {
				s.action(action)
				if got := s.results["warning"]; !strings.Contains(got, test.want) || len(got) > 1000 || strings.ContainsAny(got, "\n\x00") {
					t.Errorf("%s warns: %.2000q, want %q", action, got, test.want)
				}
			}
		})
	}
}

func TestServersThatJujuWithholdsFailTheHook(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.relations = relations{"debug-ssh:1": {"tmate/0": unreadable}}
	var refusal *juju.ToolError
	if err := s.call(juju.KindHook, "update-status"); !errors.As(err, &refusal) {
		t.Errorf("got %v, want the tool's refusal, so that Juju tries again", err)
	}
	s.expectMachines(2)
}

// Juju may still list who departs, and goes on listing a relation that ends.
func TestServersThatLeaveAreNotUsed(t *testing.T) {
	s := newStage(t)
	s.relations = relations{
		"debug-ssh:1": {"tmate/0": server("192.0.2.1"), "tmate/1": server("192.0.2.2")},
		"debug-ssh:2": {"other/0": server("192.0.2.3")},
	}
	s.hook("config-changed")
	s.relate("departed", juju.Relation{Endpoint: "debug-ssh", ID: "debug-ssh:1", RemoteUnit: "tmate/1", RemoteApp: "tmate", DepartingUnit: "tmate/1"})
	s.expectServers("192.0.2.1", "192.0.2.3")
	s.relate("broken", juju.Relation{Endpoint: "debug-ssh", ID: "debug-ssh:1", RemoteApp: "tmate"})
	s.expectServers("192.0.2.3")
	delete(s.relations, "debug-ssh:1")
	s.relate("changed", juju.Relation{Endpoint: "debug-ssh", ID: "debug-ssh:2", RemoteUnit: "other/0", RemoteApp: "other"})
	s.expectServers("192.0.2.3")
}

// depart takes the unit out of a relation, as Juju does before it removes the unit, and
// makes sure that its machines are left to stop.
func (s *stage) depart(endpoint, id, app string) {
	s.Helper()
	before := names(s.cloud.Truth())
	s.relations[id] = nil
	s.relate("departed", juju.Relation{Endpoint: endpoint, ID: id, RemoteUnit: app + "/0", RemoteApp: app, DepartingUnit: "github-runner/0"})
	s.relate("broken", juju.Relation{Endpoint: endpoint, ID: id, RemoteApp: app})
	s.expectStatus(juju.Maintenance, "the unit is being removed")
	if diff := cmp.Diff(before, names(s.cloud.Truth())); diff != "" {
		s.Errorf("machines before stop (-before +after):\n%s", diff)
	}
}

func TestNothingIsReplacedInAUnitThatDeparts(t *testing.T) {
	s := newStage(t)
	s.relations = relations{"debug-ssh:1": {"tmate/0": server("192.0.2.1")}}
	s.hook("config-changed")
	s.depart("debug-ssh", "debug-ssh:1", "tmate")
	s.hook("stop")
	s.hook("remove")
	s.expectNothingLeft()
}

func names(machines []runner.Instance) []string {
	var all []string
	for _, machine := range machines {
		all = append(all, machine.Name)
	}
	slices.Sort(all)
	return all
}
