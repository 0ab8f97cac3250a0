package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"golang.org/x/sync/errgroup"

	"github-runner/lab/project"
)

const (
	// hookRunners is how many runners one hook is given to start: GitHub lets a
	// process register 166 in a minute, for which those after them would wait.
	hookRunners = 150
	// ordersAtOnce is how many servers are ordered at a time, by the charm as by the
	// floor.
	ordersAtOnce = 30
	// serversPerPage is how many servers Nova lists in an answer.
	serversPerPage = 1000

	// ordersTarget is the time in seconds until a hundred servers are ordered.
	ordersTarget = 15
	// lookUpsTarget are a flavor, an image of the unit's own, of which there is none, the
	// stock image, a network and a security group.
	lookUpsTarget = 5
)

// onOpenStack measures how soon wanted servers are ordered in an emulated OpenStack
// whose calls take their time, and a steady reconcile there. The floors are a plain
// loop of orders, and a program that lists the same servers and registrations.
func (s *session) onOpenStack(ctx context.Context) (results []Result, err error) {
	on, err := openOpenStack(s.Lab)
	if err != nil {
		return nil, err
	}
	// With it all servers end: the unit itself would look into each by SSH before.
	defer func() { err = errors.Join(err, on.close(context.WithoutCancel(ctx))) }()
	u, err := newUnit(on, s.Charm, "bench/5")
	if err != nil {
		return nil, err
	}
	// The first start makes the security group.
	s.say("openstack: warming up")
	have := 1
	if _, err := u.scale(ctx, have); err != nil {
		return nil, err
	}
	for _, count := range s.sizes(10, 100, 1000) {
		ordered, err := s.orders(ctx, u, count)
		results = append(results, ordered...)
		if err != nil {
			return results, err
		}
		if len(ordered) > 0 {
			have = 0
		}
		s.say("openstack: starting %d emulated runners", count)
		if err := u.fill(ctx, have, count); err != nil {
			return results, err
		}
		have = count
		charm, floor, err := s.quietHooks(ctx, u, func() (Usage, error) { return s.listServers(ctx, on) })
		if err != nil {
			return results, err
		}
		results = append(results, openStackResults(count, charm, floor)...)
	}
	return results, nil
}

// fill makes a unit with some runners have count of them, by several hooks where one
// would have to wait for GitHub.
func (u *unit) fill(ctx context.Context, have, count int) error {
	for next := have + hookRunners; next < count; next += hookRunners {
		if _, err := u.scale(ctx, next); err != nil {
			return err
		}
	}
	_, err := u.scale(ctx, count)
	return err
}

// order is one measured start of servers, in seconds after its begin.
type order struct {
	// ordered is when the last POST of a server was answered, done when the hook had
	// seen all runners online; zero on the floor.
	ordered, done float64
}

// orders measures the time until so many servers are ordered, in turns with the floor,
// and leaves none.
func (s *session) orders(ctx context.Context, u *unit, count int) ([]Result, error) {
	if count > hookRunners {
		s.skip("openstack: orders of %d servers: GitHub's limit of registrations decides on their time", count)
		return nil, nil
	}
	if _, err := u.scale(ctx, 0); err != nil {
		return nil, err
	}
	var charm, floor []order
	turns := []func() error{
		func() error {
			one, err := u.stage.plainOrders(ctx, count)
			floor = append(floor, one)
			return err
		},
		func() error {
			one, err := u.orders(ctx, count)
			charm = append(charm, one)
			return err
		},
	}
	for round := range s.Rounds {
		if err := inTurns(round, turns); err != nil {
			return nil, err
		}
		s.say("openstack: %d, round %d of %d: floor %.2f s, charm %.2f s", count, round+1, s.Rounds, floor[round].ordered, charm[round].ordered)
	}
	result := func(figure string, of func(order) float64) Result {
		return Result{Benchmark: "openstack", Case: fmt.Sprintf("%d emulated", count), Figure: figure, Unit: "s", Charm: spreadOf(charm, of)}
	}
	ordered := func(o order) float64 { return o.ordered }
	last := result("until the last server is ordered", ordered).against(spreadOf(floor, ordered))
	if count == 100 {
		last = last.within(Target{Most: ordersTarget})
	}
	return []Result{last, result("until the hook is done", func(o order) float64 { return o.done })}, nil
}

// orders measures a hook that has so many servers to order, and removes them.
func (u *unit) orders(ctx context.Context, count int) (order, error) {
	u.stage.openStack.reset()
	began := time.Now()
	usage, err := u.scale(ctx, count)
	if err != nil {
		return order{}, err
	}
	last := u.stage.openStack.lastOrder()
	if last.IsZero() {
		return order{}, errors.New("the hook orders no server")
	}
	_, err = u.scale(ctx, 0)
	return order{ordered: last.Sub(began).Seconds(), done: usage.Wall.Seconds()}, err
}

// plainOrders measures a plain loop that logs in, looks up what servers are made of
// and orders so many, which it removes.
func (on *stage) plainOrders(ctx context.Context, count int) (_ order, err error) {
	clouds, err := os.ReadFile(on.openStack.clouds)
	if err != nil {
		return order{}, err
	}
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprint(floorPrefix, i)
	}
	began := time.Now()
	in, err := project.Open(ctx, clouds)
	if err != nil {
		return order{}, err
	}
	ids, err := in.CreateAll(ctx, project.Order{Flavor: openStackFlavor, Image: imageAlias, Network: openStackNetwork}, names, ordersAtOnce)
	ordered := time.Since(began).Seconds()
	return order{ordered: ordered}, errors.Join(err, removeServers(context.WithoutCancel(ctx), in, ids))
}

// removeServers deletes servers by their IDs; "" is none.
func removeServers(ctx context.Context, in *project.Project, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(ordersAtOnce)
	for _, id := range ids {
		if id == "" {
			continue
		}
		group.Go(func() error {
			if err := servers.Delete(ctx, in.Compute, id).ExtractErr(); err != nil {
				return fmt.Errorf("cannot remove the server %s of the plain loop: %w", id, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func openStackResults(count int, charm []quiet, floor []Usage) []Result {
	calls := func(figure string, of func(quiet) float64) Result {
		return steadyResult("openstack", count, figure, "calls", charm, of)
	}
	// Behind a full page Nova promises another one, though it may be empty.
	pages := float64(count/serversPerPage + 1)
	return append(steadyResults("openstack", count, charm, floor),
		calls("calls of OpenStack", quietOpenStack),
		calls("of these tokens", quietTokens).within(Target{Most: 1}),
		calls("of these pages of servers", quietPages).within(Target{Most: pages}),
		calls("of these look-ups", quietLookUps).within(Target{Most: lookUpsTarget}),
		calls("connections by SSH", quietSSH).within(Target{Most: 0}),
	)
}

// listServers measures the floor of a reconcile: a process of its own that runs
// ListServers.
func (s *session) listServers(ctx context.Context, on *stage) (Usage, error) {
	return measure(ctx, command{
		path:   s.Lab,
		args:   []string{"bench", ListServersCommand, on.openStack.clouds, on.api()},
		dir:    on.dir,
		output: filepath.Join(on.dir, "list-output"),
	})
}

// ListServersCommand is the name under which "lab bench" runs ListServers, for itself.
const ListServersCommand = "list-servers-only"

// ListServers lists all servers of the project of a clouds.yaml and all runners
// registered at a GitHub with their bare clients, and prints how many there are.
func ListServers(ctx context.Context, w io.Writer, cloudsPath, githubAPI string) error {
	clouds, err := os.ReadFile(cloudsPath)
	if err != nil {
		return fmt.Errorf("cannot list servers: %w", err)
	}
	in, err := project.Open(ctx, clouds)
	if err != nil {
		return err
	}
	all, err := in.Servers(ctx)
	if err != nil {
		return err
	}
	registered, err := countRegistered(ctx, githubAPI)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%d servers, %d runners\n", len(all), registered)
	return err
}
