package lxd

import (
	"context"
	"errors"
	"fmt"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// Watch implements runner.Cloud by LXD's events and by the files that runners
// leave. The channel is closed when the daemon goes away: the caller looks for
// itself then and watches anew.
func (c *Cloud) Watch(ctx context.Context) (<-chan struct{}, error) {
	ctx, cancel := context.WithCancel(ctx)
	lifecycle, err := c.events(ctx, c.config.Owner.Owns)
	if err != nil {
		cancel()
		return nil, err
	}
	watcher, err := newFolderWatcher(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
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
			case _, ok := <-watcher.changed:
				if !ok {
					return
				}
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

// PreJobDone implements runner.Cloud. It looks again whenever the folder or the
// instance changes.
func (c *Cloud) PreJobDone(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lifecycle, err := c.events(ctx, func(changed string) bool { return changed == name })
	if err != nil {
		return err
	}
	watcher, err := newFolderWatcher(ctx)
	if err != nil {
		return err
	}
	if err := watcher.add(c.exchange(name).path()); err != nil && !errors.Is(err, errNoFolder) {
		return err
	}
	for {
		done, err := c.preJobOver(ctx, name)
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot wait any longer for the pre-job script of %s: %w", name, ctx.Err())
		case _, ok := <-lifecycle:
			if !ok && ctx.Err() == nil {
				return fmt.Errorf("cannot wait for the pre-job script of %s: %w: LXD hung up", name, runner.ErrUnreachable)
			}
		case <-watcher.changed:
		}
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
