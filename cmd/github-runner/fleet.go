package main

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
	"github-runner/charm/runner"
	"github-runner/charm/state"
)

// assembler puts together what one state of the charm works with.
type assembler struct {
	root string
	app  string
}

func (a assembler) assemble(s state.CharmState, m charm.Materials) (charm.Fleet, error) {
	client := github.New(github.Options{
		Token:     s.Token,
		Former:    m.FormerTokens,
		Proxy:     github.Proxy{HTTP: s.Proxies.HTTP, HTTPS: s.Proxies.HTTPS, NoProxy: s.Proxies.NoProxy},
		UserAgent: "github-runner-charm/" + version,
		Cache:     m.Dir.Cache("etags.json"),
		Log:       m.Log,
	})
	cloud, err := lxd.New(lxdConfig(s, m, a.root))
	if err != nil {
		return charm.Fleet{}, err
	}
	log := metrics.NewLog(a.root)
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
		Journal:  charm.Journal{Flavor: a.app, File: log, Jobs: jobs{client}, Log: m.Log},
		LogDir:   m.Dir.LogPath,
		Limits:   runner.DefaultLimits(runtime.NumCPU()),
		Memory:   m.Memory,
		Save:     m.Save,
		Progress: m.Progress,
		Log:      m.Log,
	})
	return charm.Fleet{
		Manager: manager,
		Host:    host{cloud: cloud, log: log},
		Version: func() string { v, _ := applicationVersion.Load().(string); return v },
		Close:   client.Close,
	}, nil
}

func lxdConfig(s state.CharmState, m charm.Materials, root string) lxd.Config {
	config := lxd.Config{
		Owner:        s.Owner,
		ExchangeDir:  m.Dir.Path("exchange"),
		ImageAlias:   s.BaseImage,
		Arch:         string(s.Arch),
		InstanceType: string(s.InstanceType),
		CPU:          s.Resources.CPU,
		Memory:       s.Resources.Memory,
		Disk:         s.Resources.Disk,
		StorageKind:  string(s.Storage),
		StoragePath:  m.Storage,
		Denylist:     s.Denylist,
		Proxy:        cloudinit.Proxy(s.Proxies),
		DockerMirror: s.DockerhubMirror,
		Root:         root,
		Log:          m.Log,
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

// host is the unit's machine: LXD, and the rotation of the metrics log.
type host struct {
	cloud *lxd.Cloud
	log   metrics.Log
}

// Install implements charm.Host.
func (h host) Install(ctx context.Context, progress func(string)) error {
	if err := h.log.WriteLogrotate(); err != nil {
		return err
	}
	return h.cloud.Install(ctx, progress)
}

// Installed implements charm.Host.
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
