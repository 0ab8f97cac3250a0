package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github-runner/charm/juju"
)

// updateInterval is Juju's time between two update-status hooks.
const updateInterval = 5 * time.Minute

// Plan is a life as it was decided beforehand.
type Plan struct {
	Name string
	// Config is the configuration at the deployment, without what all lives
	// have: github-url, base-image, lxd-instance-type, vm-disk, image-interval and image-source.
	Config  map[string]any
	Proxies juju.Proxies
	// OpenStack has the runners' machines at first, and else LXD.
	OpenStack bool
	// Alone switches the agent off: hooks do all the work.
	Alone bool
	// Neighbours lets others use the same LXD and GitHub.
	Neighbours bool
	Events     []Event
	// Calm is when everything that is wrong ends.
	Calm time.Duration
}

// Event is what happens at a time after the deployment.
type Event struct {
	At   time.Duration
	Text string
	Do   func(*life)
}

// again is how to live through the plan again.
func (p Plan) again() string {
	if seed, ok := strings.CutPrefix(p.Name, "seed "); ok {
		test := "TestSeeds"
		if p.OpenStack {
			seed, test = strings.TrimSuffix(seed, onOpenStackName), "TestSeedsOnOpenStack"
		}
		return fmt.Sprintf("bin/simulate -test.run '^%s$' -seeds 1 -first %s -repeat 10", test, seed)
	}
	return "go test ./lab/simulation"
}

// add adds an event to the plan.
func (p *Plan) add(at time.Duration, do func(*life), format string, args ...any) {
	p.Events = append(p.Events, Event{At: at, Text: fmt.Sprintf(format, args...), Do: do})
}

// sort puts the events in order.
func (p *Plan) sort() {
	slices.SortStableFunc(p.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
}

// String is the schedule, for a person.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", p.Name, p.Config)
	if p.OpenStack {
		b.WriteString(", on OpenStack")
	}
	if p.Alone {
		b.WriteString(", without the agent")
	}
	if p.Neighbours {
		b.WriteString(", with neighbours")
	}
	if p.Proxies != (juju.Proxies{}) {
		b.WriteString(", with proxies")
	}
	b.WriteByte('\n')
	for _, event := range p.Events {
		fmt.Fprintf(&b, "  %v %s\n", event.At.Round(time.Second), event.Text)
	}
	fmt.Fprintf(&b, "  %v calm\n", p.Calm.Round(time.Second))
	return b.String()
}
