package lxd

import (
	"context"
	"errors"
	"fmt"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// Watch implements runner.Cloud by LXD's events, and by the files that runners leave.
// Those of images are rare, and the only word of a stock image that was downloaded has
// its fingerprint alone. The channel is closed when the daemon goes away: the caller
// looks for itself then and watches anew.
func (c *Cloud) Watch(ctx context.Context) (<-chan struct{}, error) {
	ctx, cancel := context.WithCancel(ctx)
	lifecycle, err := c.events(ctx, func(kind, name string) bool {
		return kind == instanceEvents && c.config.Owner.Owns(name) || kind == imageEvents
	})
	if err != nil {
		cancel()
		return nil, err
	}
	watcher := c.config.Host.folderWatcher(ctx, runnerFiles)
	c.watchFolders(watcher)
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		defer cancel()
		for {
			select {
			case _, ok := <-lifecycle:
				if !ok {
					return
				}
				// A new instance has a new folder, whose tmpfs was there first.
				c.watchFolders(watcher)
				notify(changed)
			case <-watcher.changed:
				notify(changed)
			}
		}
	}()
	return changed, nil
}

// watchFolders watches the folders that are there. Watching one twice changes
// nothing; those that vanish are forgotten by the kernel.
func (c *Cloud) watchFolders(watcher *folderWatcher) {
	names, err := c.traces()
	if err != nil {
		c.log.WithError(err).Warn("new runners' files are not watched")
		return
	}
	for _, name := range names {
		if err := watcher.add(c.exchange(name).path()); err != nil {
			c.log.WithField("runner", name).WithError(err).Debug("the runner's files are not watched")
		}
	}
}

// PreJobDone implements runner.Cloud.
func (c *Cloud) PreJobDone(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	vigil, err := c.keepVigil(ctx, name, runnerFiles)
	if err != nil {
		return err
	}
	for {
		vigil.listen(ctx)
		done, err := c.preJobOver(ctx, name)
		if done {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot wait any longer for the pre-job script of %s: %w", name, ctx.Err())
		}
		if err != nil {
			c.log.WithField("runner", name).WithError(err).Debug("whether the pre-job script has ended can't be seen")
		}
		vigil.wait(ctx, err != nil)
	}
}

// preJobOver reports whether there is nothing to wait for: the script has ended,
// or can't end any more.
func (c *Cloud) preJobOver(ctx context.Context, name string) (bool, error) {
	left, err := c.exchange(name).list()
	if left[cloudinit.PreJobDoneFile] || left[cloudinit.RunCompletedFile] {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	server, cancel, err := c.connect(ctx, callDeadline)
	if err != nil {
		return false, err
	}
	defer cancel()
	instance, _, err := server.GetInstance(name)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at instance %s: %w", name, err)
	}
	return instance.StatusCode == api.Stopped, nil
}
