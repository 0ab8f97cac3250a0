package slowcloud_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/lab/slowcloud"
)

func create(t *testing.T, cloud *slowcloud.Cloud, name string) {
	t.Helper()
	template, err := cloud.Prepare(t.Context(), runner.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Create(t.Context(), template, runner.Birth{Name: name, RunnerID: 7}); err != nil {
		t.Fatal(err)
	}
}

// statuses is what List tells, by name.
func statuses(t *testing.T, cloud *slowcloud.Cloud) map[string]runner.Status {
	t.Helper()
	list, err := cloud.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]runner.Status)
	for _, i := range list {
		told[i.Name] = i.Status
	}
	return told
}

func TestFastCloudTellsAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := make(chan string, 1)
		options := slowcloud.Fast()
		options.OnRunning = func(birth runner.Birth) { running <- birth.Name }
		cloud := slowcloud.New(options)
		watch, err := cloud.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		create(t, cloud, "a")
		<-watch
		if name := <-running; name != "a" {
			t.Errorf("OnRunning was called for %q", name)
		}
		if err := cloud.TakeJob("a"); err != nil {
			t.Fatal(err)
		}
		list, err := cloud.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].Status != runner.StatusRunning || list[0].Working != runner.WorkingYes || !list[0].TookJob {
			t.Errorf("List tells %+v", list)
		}
		if err := cloud.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if told := statuses(t, cloud); len(told) != 0 {
			t.Errorf("after Delete, List tells %v", told)
		}
	})
}

func TestSlowCloudLagsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := slowcloud.New(slowcloud.Slow())
		if watch, err := cloud.Watch(t.Context()); watch != nil || err != nil {
			t.Errorf("Watch returns %v, %v", watch, err)
		}
		create(t, cloud, "a")
		steps := []struct {
			after time.Duration
			want  map[string]runner.Status
		}{
			{0, map[string]runner.Status{}},
			{6 * time.Second, map[string]runner.Status{"a": runner.StatusCreating}},
			{2 * time.Minute, map[string]runner.Status{"a": runner.StatusRunning}},
		}
		for _, step := range steps {
			time.Sleep(step.after)
			if diff := cmp.Diff(step.want, statuses(t, cloud)); diff != "" {
				t.Errorf("%v later (-want +got):\n%s", step.after, diff)
			}
		}
		if err := cloud.TakeJob("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if list, err := cloud.List(t.Context()); err != nil || list[0].Working != runner.WorkingUnknown || list[0].TookJob {
			t.Errorf("a slow cloud looks into its instances: %+v, %v", list, err)
		}
		if err := cloud.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		steps = []struct {
			after time.Duration
			want  map[string]runner.Status
		}{
			{0, map[string]runner.Status{"a": runner.StatusRunning}},
			{5 * time.Second, map[string]runner.Status{"a": runner.StatusDeleting}},
			{20 * time.Second, map[string]runner.Status{}},
		}
		for _, step := range steps {
			time.Sleep(step.after)
			if diff := cmp.Diff(step.want, statuses(t, cloud)); diff != "" {
				t.Errorf("%v after Delete (-want +got):\n%s", step.after, diff)
			}
		}
	})
}

func TestPreJobDone(t *testing.T) {
	tests := map[string]struct {
		options slowcloud.Options
		act     func(*slowcloud.Cloud) error
		want    error
	}{
		"fast, marker":   {slowcloud.Fast(), func(c *slowcloud.Cloud) error { return c.EndPreJob("a") }, nil},
		"fast, gone":     {slowcloud.Fast(), func(c *slowcloud.Cloud) error { return c.Vanish("a") }, nil},
		"slow, marker":   {slowcloud.Slow(), func(c *slowcloud.Cloud) error { return c.EndPreJob("a") }, context.DeadlineExceeded},
		"slow, gone":     {slowcloud.Slow(), func(c *slowcloud.Cloud) error { return c.Vanish("a") }, nil},
		"fast, deadline": {slowcloud.Fast(), func(c *slowcloud.Cloud) error { return nil }, context.DeadlineExceeded},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := slowcloud.New(test.options)
				create(t, cloud, "a")
				ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
				defer cancel()
				done := make(chan error)
				go func() { done <- cloud.PreJobDone(ctx, "a") }()
				time.Sleep(time.Second)
				if err := test.act(cloud); err != nil {
					t.Fatal(err)
				}
				if err := <-done; !errors.Is(err, test.want) {
					t.Errorf("PreJobDone returns %v, want %v", err, test.want)
				}
			})
		})
	}
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := slowcloud.New(slowcloud.Fast())
		template, err := cloud.Prepare(t.Context(), runner.Want{})
		if err != nil {
			t.Fatal(err)
		}
		cloud.AddFault(slowcloud.Fault{Method: "Create", Err: runner.ErrQuota, Times: 1})
		cloud.AddFault(slowcloud.Fault{Method: "Create", Err: runner.ErrUnreachable, Times: 1, LostAnswer: true})
		cloud.AddFault(slowcloud.Fault{Method: "Create", Hangs: true, Times: 1})
		for i, want := range []error{runner.ErrQuota, runner.ErrUnreachable, context.DeadlineExceeded, nil} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			name := string(rune('a' + i))
			if err := cloud.Create(ctx, template, runner.Birth{Name: name}); !errors.Is(err, want) {
				t.Errorf("Create of %s returns %v, want %v", name, err, want)
			}
			cancel()
		}
		var names []string
		for _, i := range cloud.Truth() {
			names = append(names, i.Name)
		}
		if diff := cmp.Diff([]string{"b", "d"}, names); diff != "" {
			t.Errorf("instances after the faults (-want +got):\n%s", diff)
		}
		if err := cloud.Destroy(t.Context()); !errors.Is(err, runner.ErrBusy) {
			t.Errorf("Destroy with instances returns %v", err)
		}
	})
}

func TestHash(t *testing.T) {
	base := runner.Want{Count: 1, Scope: runner.Scope{API: "https://a", Path: "o/r"}, Labels: []string{"X", "y"}}
	same := base
	same.Count, same.Labels = 5, []string{"y", "x"}
	other := base
	other.Scope.Path = "o/s"
	cloud := slowcloud.New(slowcloud.Fast())
	hash := func(want runner.Want) string {
		template, err := cloud.Prepare(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return template.Hash
	}
	first := hash(base)
	if hash(same) != first {
		t.Error("the count, or the order or case of labels, changes the hash")
	}
	if hash(other) == first {
		t.Error("the scope does not change the hash")
	}
	cloud.SetRecipe("new image")
	if hash(base) == first {
		t.Error("the recipe does not change the hash")
	}
}
