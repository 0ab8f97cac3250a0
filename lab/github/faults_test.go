package github_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/lab/github"
)

func TestFaultsHitTheCallsThatTheyAreFor(t *testing.T) {
	for name, test := range map[string]struct {
		fault github.Fault
		want  []int
	}{
		"all":           {github.Fault{}, []int{418, 418, 418}},
		"by name":       {github.Fault{On: "list"}, []int{418, 418, 418}},
		"another":       {github.Fault{On: "delete"}, []int{200, 200, 200}},
		"by path":       {github.Fault{On: "GET /repos/*/actions/runners"}, []int{418, 418, 418}},
		"another path":  {github.Fault{On: "GET /orgs/*"}, []int{200, 200, 200}},
		"another way":   {github.Fault{On: "POST *"}, []int{200, 200, 200}},
		"the token's":   {github.Fault{Token: "abc"}, []int{418, 418, 418}},
		"another's":     {github.Fault{Token: "abcd"}, []int{200, 200, 200}},
		"once":          {github.Fault{Count: 1}, []int{418, 200, 200}},
		"the second":    {github.Fault{Skip: 1, Count: 1}, []int{200, 418, 200}},
		"for no time":   {github.Fault{For: 1}, []int{200, 200, 200}},
		"for some time": {github.Fault{For: time.Hour}, []int{418, 418, 418}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, github.Options{})
			test.fault.Kind, test.fault.Status = github.FaultStatus, 418
			s.fault(test.fault)
			var got []int
			for range 3 {
				got = append(got, s.call("GET", "/api/v3"+runners, "").status)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			s.ClearFaults(0)
			if got := s.call("GET", runners, "").status; got != 200 {
				t.Errorf("after clearing it: %d", got)
			}
		})
	}
}

func TestBadFaults(t *testing.T) {
	s := newStand(t, github.Options{})
	for name, fault := range map[string]github.Fault{
		"no kind":      {},
		"unknown kind": {Kind: "meteor"},
		"no status":    {Kind: github.FaultStatus},
		"no delay":     {Kind: github.FaultDelay},
		"unknown call": {Kind: github.FaultDown, On: "everything"},
	} {
		if _, err := s.AddFault(fault); err == nil || !strings.HasPrefix(err.Error(), "cannot add fault: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.AddFault(github.Fault{Kind: "meteor"}); err == nil || !strings.Contains(err.Error(), "body, delay, down, ") {
		t.Errorf("an unknown kind says %v, want the kinds that there are", err)
	}
	if len(s.Faults()) != 0 {
		t.Error("a bad fault is in force")
	}
}

// hooks is the part of the lab's Juju that the fault "kill" talks to.
func hooks(t *testing.T) (socket string, killed <-chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "juju") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(chan string, 8)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls <- r.Method + " " + r.URL.Path
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket, calls
}

func TestKillAndLost(t *testing.T) {
	for kind, test := range map[string]struct {
		kills  bool
		effect int
	}{
		github.FaultKillBefore: {true, 1},
		github.FaultKillAfter:  {true, 2},
		github.FaultLost:       {false, 2},
		github.FaultDown:       {false, 1},
	} {
		t.Run(kind, func(t *testing.T) {
			socket, killed := hooks(t)
			s := newStand(t, github.Options{JujuSocket: socket})
			s.fault(github.Fault{Kind: kind, On: "register", Skip: 1, Count: 1})
			s.register("first", `"x"`)
			got, err := s.try("POST", runners+"/generate-jitconfig", `{"name":"second","runner_group_id":1,"labels":["x"]}`)
			if err == nil {
				t.Errorf("it was answered: %d %s", got.status, got.body)
			}
			if len(s.Runners()) != test.effect {
				t.Errorf("there are %d runners, want %d", len(s.Runners()), test.effect)
			}
			if got := len(killed) == 1; got != test.kills {
				t.Errorf("hook killed: %t", got)
			} else if got {
				if call := <-killed; call != "POST /kill-hook" {
					t.Errorf("Juju was told %q", call)
				}
			}
			s.register("third", `"x"`)
		})
	}
}

func TestControlSocket(t *testing.T) {
	s := newStand(t, github.Options{})
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Serve(ctx, "127.0.0.1:0", socket, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	api := github.Dial(socket)

	made, err := api.Queue(ctx, github.JobRequest{Count: 2})
	if err != nil || len(made) != 2 {
		t.Fatal(made, err)
	}
	if _, err := api.Queue(ctx, github.JobRequest{Count: -1}); err == nil || !strings.Contains(err.Error(), "count -1") {
		t.Errorf("a bad job: %v", err)
	}
	err = api.Wait(ctx, github.Condition{Jobs: github.Completed, Online: exactly(3), Timeout: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "0 of 2 jobs are completed; 0 of 3 runners are online") {
		t.Errorf("waiting in vain: %v", err)
	}
	if ended, err := api.End(ctx, nil, "success"); err != nil || len(ended) != 2 {
		t.Errorf("ended %v, %v", ended, err)
	}
	if err := api.Wait(ctx, github.Condition{Jobs: github.Completed, Count: 2}); err != nil {
		t.Error(err)
	}
	fault, err := api.AddFault(ctx, github.Fault{Kind: github.FaultDown})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := api.Faults(ctx); err != nil || len(list) != 1 || list[0].ID != fault.ID {
		t.Errorf("faults %v, %v", list, err)
	}
	if err := api.ClearFaults(ctx, fault.ID); err != nil {
		t.Error(err)
	}
	s.register("one", `"x"`)
	if list, err := api.Runners(ctx); err != nil || len(list) != 1 || list[0].Scope != "acme/widgets" {
		t.Errorf("runners %v, %v", list, err)
	}
	if list, err := api.Calls(ctx); err != nil || len(list) != 1 {
		t.Errorf("calls %v, %v", list, err)
	}
	if err := api.ResetCalls(ctx); err != nil || len(s.Calls()) != 0 {
		t.Errorf("calls are counted on: %v", err)
	}
	if group, err := api.AddGroup(ctx, "acme", "fast"); err != nil || group.ID == 0 {
		t.Errorf("group %v, %v", group, err)
	}
	if err := api.RemoveGroup(ctx, "acme", "slow"); err == nil {
		t.Error("a group that is not there was removed")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the server ends with %v", err)
	}
	if _, err := api.Jobs(t.Context()); err == nil || !strings.Contains(err.Error(), "is the lab up?") {
		t.Errorf("without a lab: %v", err)
	}
}

func TestApplications(t *testing.T) {
	file := filepath.Join(t.TempDir(), "actions-runner-linux-arm64-2.1.0.tar.gz")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStand(t, github.Options{Applications: []string{file}})
	want := `[{"architecture":"arm64","download_url":"` + s.url + `/_downloads/actions-runner-linux-arm64-2.1.0.tar.gz",` +
		`"filename":"actions-runner-linux-arm64-2.1.0.tar.gz","os":"linux",` +
		`"sha256_checksum":"ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"}]`
	if got := string(s.call("GET", runners+"/downloads", "").body); got != want {
		t.Errorf("downloads: %s\nwant %s", got, want)
	}
	if got := s.call("GET", "/_downloads/"+filepath.Base(file), "", "Authorization", ""); string(got.body) != "content" {
		t.Errorf("the file: %d %q", got.status, got.body)
	}
	for _, path := range []string{"/_downloads/", "/_downloads/other", "/_downloads/..%2f..%2fetc%2fpasswd"} {
		if got := s.call("GET", path, ""); got.status != 404 {
			t.Errorf("%s: %d, want 404", path, got.status)
		}
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "actions-runner-linux-x64-2.1.0.tar.gz"), file + ".zip", "/etc/passwd"} {
		if _, err := github.New(github.Options{Applications: []string{bad}}); err == nil {
			t.Errorf("%s is offered", bad)
		}
	}
}
