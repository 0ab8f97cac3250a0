package github_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	lab "github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

func TestRegisterAndLookAfter(t *testing.T) {
	for _, kind := range []string{"repository", "organization"} {
		t.Run(kind, func(t *testing.T) {
			ctx := testContext(t)
			w := newWorld(t, lab.Options{})
			client := w.client(nil)
			scope := map[string]runner.Scope{"repository": w.repository(), "organization": w.organization()}[kind]

			made, jit, err := client.Register(ctx, scope, request("one"))
			if err != nil {
				t.Fatal(err)
			}
			want := runner.Registration{ID: made.ID, Name: "one", Labels: []string{"self-hosted", "x64"}, Scope: scope}
			if diff := cmp.Diff(want, made); diff != "" || made.ID == 0 {
				t.Errorf("registered (-want +got):\n%s", diff)
			}
			if _, err := runnerapp.Open(jit.Reveal()); err != nil {
				t.Errorf("the JIT configuration is of no use: %v", err)
			}
			got, err := client.Runner(ctx, scope, made.ID)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("asked for it (-want +got, error %v):\n%s", err, diff)
			}
			if _, _, err := client.Register(ctx, scope, request("ONE")); !errors.Is(err, runner.ErrExists) {
				t.Errorf("the same name again gives %v, want ErrExists", err)
			}
			for range 2 { // gone is gone, however often
				if err := client.Deregister(ctx, scope, made.ID); err != nil {
					t.Errorf("cannot deregister: %v", err)
				}
			}
			if _, err := client.Runner(ctx, scope, made.ID); !errors.Is(err, runner.ErrNotFound) {
				t.Errorf("after that it gives %v, want ErrNotFound", err)
			}
		})
	}
}

func TestBusyAndOnline(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	client := w.client(nil)
	made := w.busy(ctx, client, w.repository(), "one")
	listed, err := client.Runners(ctx, w.repository(), "")
	if err != nil || len(listed) != 1 || !listed[0].Online || !listed[0].Busy {
		t.Errorf("listed %+v, %v; want it online and busy", listed, err)
	}
	if err := client.Deregister(ctx, w.repository(), made.ID); !errors.Is(err, runner.ErrBusy) {
		t.Errorf("deregistering it gives %v, want ErrBusy", err)
	}
}

func TestRunnersCostsOneFreeCallPerHundred(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	cache := &memory{}
	withCache := func(o *github.Options) { o.Cache = cache }
	first := w.client(withCache)
	for i := range 201 {
		name := fmt.Sprintf("ours-%03d", i)
		if i%2 == 1 {
			name = fmt.Sprintf("theirs-%03d", i)
		}
		if i == 150 {
			first = w.client(withCache) // one client makes no more in a minute
		}
		if _, _, err := first.Register(ctx, w.organization(), request(name)); err != nil {
			t.Fatal(err)
		}
	}
	for round, want := range []struct{ calls, free int }{{3, 0}, {3, 3}, {3, 3}} {
		w.ResetCalls()
		client := w.client(withCache) // as the next hook has it
		listed, err := client.Runners(ctx, w.organization(), "ours-")
		if err != nil || len(listed) != 101 {
			t.Fatalf("round %d lists %d, %v; want 101", round, len(listed), err)
		}
		if calls, free := w.calls(); calls != want.calls || free != want.free {
			t.Errorf("round %d takes %d calls, %d of them free; want %d, %d", round, calls, free, want.calls, want.free)
		}
	}
	if cache.saved > 3 {
		t.Errorf("the cache was written %d times", cache.saved)
	}
	if _, _, err := first.Register(ctx, w.organization(), request("ours-new")); err != nil {
		t.Fatal(err)
	}
	listed, err := w.client(withCache).Runners(ctx, w.organization(), "ours-")
	if err != nil || len(listed) != 102 {
		t.Errorf("after a change %d are listed, %v; want 102", len(listed), err)
	}
}

func TestAnotherTokenDoesNotGetTheOnesAnswers(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	cache := &memory{}
	for _, name := range []string{"first-token", "second-token"} {
		w.ResetCalls()
		client := w.client(func(o *github.Options) { o.Cache, o.Credential.Token = cache, secret.New(name) })
		if _, err := client.Runners(ctx, w.repository(), ""); err != nil {
			t.Fatal(err)
		}
		if _, free := w.calls(); free != 0 {
			t.Errorf("%s was answered from another token's list", name)
		}
	}
}

func TestGroups(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	group, err := w.AddGroup("acme", "Fast Ones")
	if err != nil {
		t.Fatal(err)
	}
	client := w.client(nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			asked := request(fmt.Sprintf("r%d", i))
			asked.Group = "fast ones"
			if _, _, err := client.Register(ctx, w.organization(), asked); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, r := range w.Runners() {
		if r.Group != group.ID {
			t.Errorf("runner %s is in group %d, want %d", r.Name, r.Group, group.ID)
		}
	}
	if calls, _ := w.calls(); calls != 9 {
		t.Errorf("8 runners took %d calls, want 9: the group is asked for once", calls)
	}

	asked := request("lost")
	asked.Group = "slow ones"
	_, _, err = client.Register(ctx, w.organization(), asked)
	if !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("an unknown group gives %v, want ErrNotFound", err)
	}
	wantAdvice(t, err, "group", "acme")

	if err := w.RemoveGroup("acme", "Fast Ones"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time GitHub is asked which groups there are
		asked.Group = "Fast Ones"
		_, _, err = client.Register(ctx, w.organization(), asked)
		wantAdvice(t, err, "group")
	}
}

func TestLostAnswerMayHaveTakenEffect(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	w.fault(lab.Fault{Kind: lab.FaultLost, On: "register", Count: 1})
	client := w.client(nil)
	_, _, err := client.Register(ctx, w.repository(), request("one"))
	if !errors.Is(err, runner.ErrUnreachable) {
		t.Errorf("a lost answer gives %v, want ErrUnreachable", err)
	}
	if listed, err := client.Runners(ctx, w.repository(), ""); err != nil || len(listed) != 1 {
		t.Errorf("listed %d, %v; want the one that was made", len(listed), err)
	}
	if calls, _ := w.calls(); calls != 2 {
		t.Errorf("%d calls were made, want 2: nothing is asked twice", calls)
	}
}

func TestFormerToken(t *testing.T) {
	former := func(w world) func(*github.Options) {
		return func(o *github.Options) {
			o.Former = map[runner.Scope]github.Credential{w.repository(): {Token: secret.New("former-token")}}
		}
	}
	for name, refusal := range map[string]lab.Fault{
		"401": {Kind: lab.FaultRevoked, Token: token},
		"403": {Kind: lab.FaultStatus, Status: 403, Token: token},
		"404": {Kind: lab.FaultStatus, Status: 404, Token: token},
	} {
		t.Run("takes over at "+name, func(t *testing.T) {
			ctx := testContext(t)
			w := newWorld(t, lab.Options{})
			made, _, err := w.client(nil).Register(ctx, w.repository(), request("one"))
			if err != nil {
				t.Fatal(err)
			}
			w.fault(refusal)
			client := w.client(former(w))
			if listed, err := client.Runners(ctx, w.repository(), ""); err != nil || len(listed) != 1 {
				t.Fatalf("listed %v, %v; want one", listed, err)
			}
			if err := client.Deregister(ctx, w.repository(), made.ID); err != nil {
				t.Error(err)
			}
			if _, err := client.Runner(ctx, w.repository(), made.ID); !errors.Is(err, runner.ErrNotFound) {
				t.Errorf("a removed runner gives %v, want ErrNotFound", err)
			}
			if _, _, err := client.Register(ctx, w.repository(), request("two")); err == nil {
				t.Error("a runner was registered with the former token")
			}
		})
	}
	t.Run("revoked too", func(t *testing.T) {
		ctx := testContext(t)
		w := newWorld(t, lab.Options{})
		w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 404, Token: token})
		w.fault(lab.Fault{Kind: lab.FaultRevoked, Token: "former-token"})
		client := w.client(former(w))
		// Nothing is known about a runner that no token can see.
		if _, err := client.Runner(ctx, w.repository(), 1); err == nil || errors.Is(err, runner.ErrNotFound) {
			t.Errorf("it gives %v, want anything but ErrNotFound", err)
		}
		if err := client.Deregister(ctx, w.repository(), 1); err == nil {
			t.Error("a runner that can't be seen passes for gone")
		}
	})
}

func TestScopeThatCannotBeSeenIsNotGone(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 404})
	client := w.client(nil)
	if _, err := client.Runners(ctx, w.repository(), ""); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("listing gives %v, want ErrNotFound", err)
	}
	_, err := client.Runner(ctx, w.repository(), 1)
	if !errors.Is(err, runner.ErrForbidden) || errors.Is(err, runner.ErrNotFound) {
		t.Errorf("asking gives %v, want ErrForbidden", err)
	}
	wantAdvice(t, err, "path")
}

func TestJob(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	client := w.client(nil)
	w.busy(ctx, client, w.organization(), "one")
	queued := w.Jobs()[0]
	got, err := client.Job(ctx, w.organization(), queued.Repository, queued.RunID, "one")
	if err != nil || got.Conclusion != "" || got.Started.IsZero() || !got.Created.Equal(queued.Created.Truncate(time.Second)) {
		t.Errorf("a running job reads %+v, %v", got, err)
	}
	for name, ask := range map[string]struct {
		repository string
		runID      int64
		runner     string
	}{
		"another runner":   {queued.Repository, queued.RunID, "two"},
		"another run":      {queued.Repository, 1, "one"},
		"another's":        {"evil/demo", queued.RunID, "one"},
		"no repository":    {"acme", queued.RunID, "one"},
		"out of the path":  {"acme/../x", queued.RunID, "one"},
		"up":               {"acme/..", queued.RunID, "one"},
		"with a query":     {"acme/demo?x=y", queued.RunID, "one"},
		"with a line feed": {"acme/de\nmo", queued.RunID, "one"},
	} {
		if _, err := client.Job(ctx, w.organization(), ask.repository, ask.runID, ask.runner); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A thousand runners that did not change: what a hook spends on GitHub.
func BenchmarkUnchangedThousand(b *testing.B) {
	w := newWorld(b, lab.Options{Limit: 1 << 30})
	cache := &memory{}
	withCache := func(o *github.Options) { o.Cache = cache }
	first := w.client(withCache)
	for i := range 1000 {
		asked := runner.Request{Name: fmt.Sprint("ours-", i), Labels: []string{"self-hosted", "linux", "x64", "noble", "github-runner"}}
		if _, _, err := first.Register(b.Context(), w.organization(), asked); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		listed, err := w.client(withCache).Runners(b.Context(), w.organization(), "ours-")
		if err != nil || len(listed) != 1000 {
			b.Fatalf("listed %d: %v", len(listed), err)
		}
	}
}
