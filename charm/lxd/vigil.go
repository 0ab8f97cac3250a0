package lxd

import (
	"context"
	"errors"
	"time"
)

// slowLook is how often an instance is looked at of which nothing is heard.
const slowLook = 15 * time.Second

// vigil waits for what happens to one instance: to the files that it leaves, and to
// itself. Where LXD hangs up, it calls again.
type vigil struct {
	cloud   *Cloud
	name    string
	watcher *folderWatcher
	// lifecycle is nil while LXD tells nothing.
	lifecycle <-chan struct{}
}

// keepVigil begins a vigil that ends with ctx.
func (c *Cloud) keepVigil(ctx context.Context, name string, known files) (*vigil, error) {
	watcher := c.config.Host.folderWatcher(ctx, known)
	if err := watcher.add(c.exchange(name).path()); err != nil && !errors.Is(err, errNoFolder) {
		return nil, err
	}
	return &vigil{cloud: c, name: name, watcher: watcher}, nil
}

// listen lets LXD tell of what happens from now on: what was before must be looked at.
// Where it can't, its answer to that look says what is wrong.
func (v *vigil) listen(ctx context.Context) {
	if v.lifecycle == nil {
		v.lifecycle, _ = v.cloud.events(ctx, isInstance(v.name))
	}
}

// wait returns when there is a reason to look again, or ctx ends. Soon is for one who
// knows that there is more to come, of which nothing is heard.
func (v *vigil) wait(ctx context.Context, soon bool) {
	length := slowLook
	if soon || v.lifecycle == nil {
		length = lookAgain
	}
	select {
	case <-ctx.Done():
	case <-time.After(length):
	case <-v.watcher.changed:
	case _, ok := <-v.lifecycle:
		if !ok {
			v.lifecycle = nil
			pause(ctx, lookAgain)
		}
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}
