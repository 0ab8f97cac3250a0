package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	gh "github.com/google/go-github/v62/github"

	"github-runner/lab"
)

const (
	// hooksPerRound is how often a hook that changes nothing is measured.
	hooksPerRound = 5
	perPage       = 100

	// reconcileTarget is the CPU time in ms for a thousand runners.
	reconcileTarget = 1000
)

// quiet is one measured hook that found nothing to do.
type quiet struct {
	Hook Usage
	// GitHub and NotModified are calls and the answers 304 among them, LXD
	// calls of LXD's API.
	GitHub, NotModified, LXD int
	OpenStack                openStackCalls
}

func quietCPU(q quiet) float64      { return cpuMilliseconds(q.Hook) }
func quietWall(q quiet) float64     { return wallMilliseconds(q.Hook) }
func quietMemory(q quiet) float64   { return peakMegabytes(q.Hook) }
func quietGitHub(q quiet) float64   { return float64(q.GitHub) }
func quietModified(q quiet) float64 { return float64(q.GitHub - q.NotModified) }
func quietLXD(q quiet) float64      { return float64(q.LXD) }

// reconcile measures a steady reconcile of many emulated runners: the hook
// update-status, when nothing has changed since the last one. The floor is a
// program that lists the same instances and registrations and does no more.
func (s *session) reconcile(ctx context.Context) (results []Result, err error) {
	on, err := s.emulated()
	if err != nil {
		return nil, err
	}
	if on != s.chosen {
		defer func() { err = errors.Join(err, on.close(context.WithoutCancel(ctx))) }()
	}
	u, err := newUnit(on, s.Charm, "bench/1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.remove(context.WithoutCancel(ctx))) }()
	for _, count := range s.sizes(10, 100, 1000) {
		s.say("reconcile: starting %d emulated runners", count)
		if _, err := u.scale(ctx, count); err != nil {
			return results, err
		}
		charm, floor, err := s.quietHooks(ctx, u, func() (Usage, error) { return s.list(ctx, on) })
		if err != nil {
			return results, err
		}
		results = append(results, steadyResults("reconcile", count, charm, floor)...)
		results = append(results, steadyResult("reconcile", count, "calls of LXD", "calls", charm, quietLXD))
	}
	return results, nil
}

// emulated returns a stage on the emulation, which may be the chosen one.
func (s *session) emulated() (*stage, error) {
	if s.chosen != nil && s.chosen.cloud == lab.CloudEmulated {
		return s.chosen, nil
	}
	return openEmulated(s.Lab)
}

// quietHooks measures update-status and a floor in turns. What the first hook
// finds new is not counted.
func (s *session) quietHooks(ctx context.Context, u *unit, floor func() (Usage, error)) (charm []quiet, floors []Usage, err error) {
	if _, err := u.hook(ctx, "update-status"); err != nil {
		return nil, nil, err
	}
	for range s.Rounds * hooksPerRound {
		one, err := u.quietHook(ctx)
		if err != nil {
			return nil, nil, err
		}
		usage, err := floor()
		if err != nil {
			return nil, nil, err
		}
		charm, floors = append(charm, one), append(floors, usage)
	}
	return charm, floors, nil
}

func (u *unit) quietHook(ctx context.Context) (quiet, error) {
	if err := u.stage.resetCalls(ctx); err != nil {
		return quiet{}, err
	}
	usage, err := u.hook(ctx, "update-status")
	if err != nil {
		return quiet{}, err
	}
	measured, err := u.stage.countCalls(ctx)
	measured.Hook = usage
	return measured, err
}

func (on *stage) resetCalls(ctx context.Context) error {
	if on.lxdCalls != nil {
		on.lxdCalls.Store(0)
	}
	if on.openStack != nil {
		on.openStack.reset()
	}
	return on.github.ResetCalls(ctx)
}

// countCalls returns the calls of all APIs since the last reset.
func (on *stage) countCalls(ctx context.Context) (counted quiet, err error) {
	if on.lxdCalls != nil {
		counted.LXD = int(on.lxdCalls.Load())
	}
	if on.openStack != nil {
		counted.OpenStack = on.openStack.counted()
	}
	calls, err := on.github.Calls(ctx)
	for _, endpoint := range calls {
		counted.GitHub += endpoint.Total
		counted.NotModified += endpoint.NotModified
	}
	return counted, err
}

// steadyResult is one figure of hooks that found nothing to do.
func steadyResult(benchmark string, count int, figure, unit string, charm []quiet, of func(quiet) float64) Result {
	return Result{Benchmark: benchmark, Case: fmt.Sprintf("%d emulated", count), Figure: figure, Unit: unit, Charm: spreadOf(charm, of)}
}

// steadyResults are the figures of such hooks that are of every cloud.
func steadyResults(benchmark string, count int, charm []quiet, floor []Usage) []Result {
	result := func(figure, unit string, of func(quiet) float64) Result {
		return steadyResult(benchmark, count, figure, unit, charm, of)
	}
	cpu := result("CPU of the hook", "ms", quietCPU).against(spreadOf(floor, cpuMilliseconds))
	if count == 1000 {
		cpu = cpu.within(Target{Most: reconcileTarget})
	}
	pages := float64((count + perPage - 1) / perPage)
	return []Result{
		cpu,
		result("wall time", "ms", quietWall).against(spreadOf(floor, wallMilliseconds)),
		result("peak memory", "MB", quietMemory).against(spreadOf(floor, peakMegabytes)),
		result("calls of GitHub", "calls", quietGitHub).within(Target{Most: pages}),
		result("of these not 304", "calls", quietModified).within(Target{Most: 0}),
	}
}

// list measures the floor of a reconcile: a process of its own that runs List.
func (s *session) list(ctx context.Context, on *stage) (Usage, error) {
	return measure(ctx, command{
		path:   s.Lab,
		args:   []string{"bench", ListCommand, on.lxdSocket(), on.api()},
		dir:    on.dir,
		output: filepath.Join(on.dir, "list-output"),
	})
}

// ListCommand is the name under which "lab bench" runs List, for itself.
const ListCommand = "list-only"

// List lists all instances of an LXD and all runners registered at a GitHub with
// their bare clients, and prints how many there are.
func List(ctx context.Context, w io.Writer, lxdSocket, githubAPI string) error {
	server, err := client.ConnectLXDUnixWithContext(ctx, lxdSocket, &client.ConnectionArgs{SkipGetServer: true})
	if err != nil {
		return fmt.Errorf("cannot list instances: %w", err)
	}
	instances, err := server.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return fmt.Errorf("cannot list instances: %w", err)
	}
	registered, err := countRegistered(ctx, githubAPI)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%d instances, %d runners\n", len(instances), registered)
	return err
}

// countRegistered lists all runners registered at a GitHub.
func countRegistered(ctx context.Context, githubAPI string) (registered int, err error) {
	base, err := url.Parse(githubAPI + "/")
	if err != nil {
		return 0, fmt.Errorf("cannot list runners: %w", err)
	}
	github := gh.NewClient(&http.Client{}).WithAuthToken(token)
	github.BaseURL = base
	for page := 1; page > 0; {
		options := &gh.ListRunnersOptions{ListOptions: gh.ListOptions{PerPage: perPage, Page: page}}
		list, answer, err := github.Actions.ListRunners(ctx, repositoryOwner, repositoryName, options)
		if err != nil {
			return 0, fmt.Errorf("cannot list runners: %w", err)
		}
		registered += len(list.Runners)
		page = answer.NextPage
	}
	return registered, nil
}
