package fleet

import (
	"context"
	"runtime"

	"github-runner/charm/lxd"
	"github-runner/charm/metrics"
	"github-runner/charm/policy"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unit"
)

// onLXD is the place of runners on the unit's machine.
func (a Assembler) onLXD(s state.CharmState, m unit.Materials, to outside) (place, error) {
	cloud, err := lxd.New(a.lxdConfig(s, m))
	if err != nil {
		return place{}, err
	}
	return place{
		cloud:  cloud,
		host:   lxdHost{cloud: cloud, log: to.log},
		former: a.former(s, m, cloud, to),
		images: images{cloud.Images(), s, applicationFor(s, to.unheld)},
		limits: runner.DefaultLimits(runtime.NumCPU()),
		close:  func() {},
	}, nil
}

// former is what is left of the Python charm; nil when that was seen to be
// nothing.
func (a Assembler) former(s state.CharmState, m unit.Materials, machines takeover.Machines, to outside) unit.Former {
	if m.FormerCharm.Done {
		return nil
	}
	return takeover.New(takeover.Config{
		Unit:     s.Owner.Unit,
		Scope:    s.Scope,
		CharmDir: m.CharmDir,
		Root:     a.Root,
		Machines: machines,
		GitHub:   to.client,
		Journal:  to.journal,
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
		Settings:     settings(s),
		Root:         a.Root,
		Socket:       a.Socket,
		Host:         a.Host,
		Log:          m.Log,
	}
	if a.PolicyPort != 0 {
		tokens := policy.TokensIn(m.Dir.Path(policy.Folder))
		config.Policy = lxd.Policy{Port: a.PolicyPort, NewToken: tokens.Issue, Forget: tokens.Forget}
	}
	return config
}

// lxdHost is the unit's machine: LXD, and the rotation of the metrics log.
type lxdHost struct {
	cloud *lxd.Cloud
	log   metrics.Log
}

// Install implements unit.Host.
func (h lxdHost) Install(ctx context.Context, progress func(string)) error {
	if err := h.log.WriteLogrotate(); err != nil {
		return err
	}
	return h.cloud.Install(ctx, progress)
}

// Installed implements unit.Host.
func (h lxdHost) Installed() bool {
	return h.cloud.Installed()
}
