// Package fleet puts together what one state of the charm works with: the
// client for GitHub, the cloud, the manager and the journal.
package fleet

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"

	"github-runner/charm"
	"github-runner/charm/cloudinit"
	"github-runner/charm/github"
	"github-runner/charm/lxd"
	"github-runner/charm/metrics"
	"github-runner/charm/policy"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
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
	// Host and GitHub are the ways to the outside; those of this machine where
	// they are zero.
	Host   lxd.Host
	GitHub github.Way
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
	cloud, err := lxd.New(a.lxdConfig(s, m))
	if err != nil {
		return unit.Fleet{}, err
	}
	log := metrics.NewLog(a.Root)
	journal := charm.Journal{Flavor: a.App, File: log, Jobs: jobs{client}, Log: m.Log}
	var applicationVersion atomic.Value
	manager := runner.NewManager(runner.Config{
		Owner:  s.Owner,
		Cloud:  cloud,
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
		Limits:   runner.DefaultLimits(runtime.NumCPU()),
		Memory:   m.Memory,
		Save:     m.Save,
		Progress: m.Progress,
		Log:      m.Log,
	})
	return unit.Fleet{
		Manager: manager,
		Host:    host{cloud: cloud, log: log},
		Former:  a.former(s, m, cloud, client, journal),
		Images: images{cloud.Images(), s, func(ctx context.Context) (runner.Application, error) {
			return unheld.Application(ctx, s.Scope, s.Arch.Label())
		}},
		Queue:   client.Queue,
		Version: func() string { v, _ := applicationVersion.Load().(string); return v },
		Budget:  func() unit.Budget { return unit.Budget(client.Budget()) },
		Close: func() {
			client.Close()
			unheld.Close()
		},
	}, nil
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

// former is what is left of the Python charm; nil when that was seen to be
// nothing.
func (a Assembler) former(s state.CharmState, m unit.Materials, cloud *lxd.Cloud, client *github.Client, journal charm.Journal) unit.Former {
	if m.FormerCharm.Done {
		return nil
	}
	return takeover.New(takeover.Config{
		Unit:     s.Owner.Unit,
		Scope:    s.Scope,
		CharmDir: m.CharmDir,
		Root:     a.Root,
		Machines: cloud,
		GitHub:   client,
		Journal:  journal,
		Memory:   m.FormerCharm,
		Save:     m.SaveFormerCharm,
		Log:      m.Log,
	})
}

func (a Assembler) lxdConfig(s state.CharmState, m unit.Materials) lxd.Config {
	config := lxd.Config{
		Owner:        s.Owner,
		ExchangeDir:  m.Dir.Path("exchange"),
		ImageAlias:   s.BaseImage,
		ImageSource:  lxd.ImageSource(s.ImageSource),
		ImageLock:    m.Dir.Units(),
		ImageVariant: imageVariant(s, a.App),
		PlainImage:   isPublic(s) && !s.ImageSource.Named,
		Sent:         lxd.SentImage(s.ImageRelation),
		Arch:         string(s.Arch),
		InstanceType: string(s.InstanceType),
		CPU:          s.Resources.CPU,
		Memory:       s.Resources.Memory,
		Disk:         s.Resources.Disk,
		StorageKind:  string(s.Storage),
		StoragePath:  m.Storage,
		Denylist:     s.Denylist,
		MembersOnly:  s.MembersOnly,
		DockerMirror: s.DockerhubMirror,
		Root:         a.Root,
		Socket:       a.Socket,
		Host:         a.Host,
		Log:          m.Log,
	}
	if a.PolicyPort != 0 {
		tokens := policy.TokensIn(m.Dir.Path(policy.Folder))
		config.Policy = lxd.Policy{Port: a.PolicyPort, NewToken: tokens.Issue, Forget: tokens.Forget}
	}
	// Programs that were told of a proxy would bypass aproxy.
	if s.Aproxy.IsZero() {
		config.Proxy = cloudinit.Proxy(s.Proxies)
	} else {
		config.Aproxy = aproxy(s.Aproxy)
	}
	for _, host := range s.DebugHosts {
		config.DebugHosts = append(config.DebugHosts, cloudinit.DebugHost{
			Host:               host.Host.String(),
			Port:               int(host.Port),
			RSAFingerprint:     host.RSAFingerprint,
			ED25519Fingerprint: host.Ed25519Fingerprint,
		})
	}
	return config
}

func aproxy(a state.Aproxy) cloudinit.Aproxy {
	result := cloudinit.Aproxy{Proxy: a.Proxy}
	for _, addresses := range a.Exclude {
		result.Exclude = append(result.Exclude, cloudinit.AddrRange(addresses))
	}
	for _, ports := range a.Ports {
		result.Ports = append(result.Ports, cloudinit.PortRange(ports))
	}
	return result
}

// host is the unit's machine: LXD, and the rotation of the metrics log.
type host struct {
	cloud *lxd.Cloud
	log   metrics.Log
}

// Install implements unit.Host.
func (h host) Install(ctx context.Context, progress func(string)) error {
	if err := h.log.WriteLogrotate(); err != nil {
		return err
	}
	return h.cloud.Install(ctx, progress)
}

// Installed implements unit.Host.
func (h host) Installed() bool {
	return h.cloud.Installed()
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
