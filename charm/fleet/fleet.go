// Package fleet puts together what one state of the charm works with: the
// client for GitHub, the cloud, the manager and the journal.
package fleet

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	"github-runner/charm"
	"github-runner/charm/github"
	"github-runner/charm/lxd"
	"github-runner/charm/metrics"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
)

// Assembler is what is the same for all states.
type Assembler struct {
	// Root is a prefix of the charm's paths below /var and /etc, for tests.
	Root string
	// App is the name of the application.
	App string
	// Version is that of the program.
	Version string
	// Socket is LXD's; "": that of this machine.
	Socket string
	// PolicyPort is where the unit's policy service answers on the runners' bridge;
	// 0: jobs are not checked, as in simulations, which have no service.
	PolicyPort uint16
	// Host, GitHub and OpenStack are the ways to the outside; those of this machine
	// where they are zero.
	Host      lxd.Host
	GitHub    github.Way
	OpenStack OpenStackWay
}

// Assemble implements charm.Charm's Assemble. It makes no call.
func (a Assembler) Assemble(s state.CharmState, m unit.Materials) (unit.Fleet, error) {
	options := GitHubOptions(s, m.FormerCredentials, a.Version)
	options.Way, options.Log = a.GitHub, m.Log
	// The caches are for who holds the unit; images are made while others do.
	unheld := github.New(options)
	options.Cache = m.Dir.Cache("etags.json")
	options.Tokens = m.Dir.Cache("app-tokens.json")
	client := github.New(options)
	log := metrics.NewLog(a.Root)
	journal := charm.Journal{Flavor: a.App, File: log, Jobs: jobs{client}, Log: m.Log}
	where := a.onLXD
	if s.OnOpenStack() {
		where = a.onOpenStack
	}
	place, err := where(s, m, outside{client: client, unheld: unheld, journal: journal, log: log})
	if err != nil {
		return unit.Fleet{}, err
	}
	var applicationVersion atomic.Value
	manager := runner.NewManager(runner.Config{
		Owner:  s.Owner,
		Cloud:  place.cloud,
		GitHub: client,
		Application: func(ctx context.Context, scope runner.Scope) (runner.Application, error) {
			application, err := client.Application(ctx, scope, s.Arch.Label())
			if err == nil {
				applicationVersion.Store(application.Version)
			}
			return application, err
		},
		Journal:  journal,
		LogDir:   m.Dir.LogPath,
		Limits:   place.limits,
		Memory:   m.Memory,
		Save:     m.Save,
		Progress: m.Progress,
		Log:      m.Log,
	})
	return unit.Fleet{
		Manager: manager,
		Host:    place.host,
		Former:  place.former,
		Images:  place.images,
		Queue:   client.Queue,
		Version: func() string { v, _ := applicationVersion.Load().(string); return v },
		Budget:  func() unit.Budget { return unit.Budget(client.Budget()) },
		Close: func() {
			client.Close()
			unheld.Close()
			place.close()
		},
	}, nil
}

// place is where runners live, with what the charm has there besides.
type place struct {
	cloud  runner.Cloud
	host   unit.Host
	images unit.Images // nil where none are made
	former unit.Former // nil where nothing of another charm's is left
	limits runner.Limits
	close  func()
}

// outside is what a place has to do with besides runners.
type outside struct {
	// unheld is for who does not hold the unit.
	client, unheld *github.Client
	journal        charm.Journal
	log            metrics.Log
}

// GitHubOptions are those of a client for what a state says of GitHub, with the
// credentials of former scopes.
func GitHubOptions(s state.CharmState, former map[runner.Scope]state.Credential, version string) github.Options {
	return github.Options{
		Credential: credential(s.Credential),
		Former:     formerCredentials(former),
		Proxy:      github.Proxy{HTTP: s.Proxies.HTTP.Reveal(), HTTPS: s.Proxies.HTTPS.Reveal(), NoProxy: s.Proxies.NoProxy},
		UserAgent:  "github-runner-charm/" + version,
	}
}

// credential is the state's in GitHub's terms.
func credential(c state.Credential) github.Credential {
	made := github.Credential{Token: c.Token, App: github.App(c.App)}
	if c.TokenBySecret {
		made.Option = "token-secret-id"
	}
	return made
}

func formerCredentials(former map[runner.Scope]state.Credential) map[runner.Scope]github.Credential {
	made := map[runner.Scope]github.Credential{}
	for scope, one := range former {
		made[scope] = credential(one)
	}
	return made
}

// jobs asks GitHub about jobs in the terms of the metrics.
type jobs struct {
	client *github.Client
}

// Job implements charm.Jobs.
func (j jobs) Job(ctx context.Context, scope runner.Scope, job metrics.PreJob, runnerName string) (metrics.Job, error) {
	id, err := strconv.ParseInt(job.RunID, 10, 64)
	if err != nil {
		return metrics.Job{}, fmt.Errorf("cannot ask about workflow run %q: it is no number", job.RunID)
	}
	found, err := j.client.Job(ctx, scope, job.Repository, id, runnerName)
	if err != nil {
		return metrics.Job{}, err
	}
	return metrics.Job{CreatedAt: found.Created, StartedAt: found.Started, Conclusion: found.Conclusion}, nil
}
