package lxd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// deleteDeadline bounds the whole removal of one instance: force-stop, delete,
// and waiting for whatever else happens to it.
const deleteDeadline = 2 * time.Minute

// busyRecheck is how long a removal waits for an event that ends what keeps an
// instance busy, before it tries once more all the same.
const busyRecheck = 2 * time.Second

// Delete implements runner.Cloud. Several callers may delete the same instance:
// all of them succeed.
func (c *Cloud) Delete(ctx context.Context, name string) error {
	if !c.config.Owner.Owns(name) {
		return fmt.Errorf("cannot delete instance %q: it is not one of unit %s", name, c.config.Owner.Unit)
	}
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if err := c.deleteInstance(server, name, c.isOurs); err != nil {
		return fmt.Errorf("cannot delete instance %s: %w", name, err)
	}
	if err := c.forgetTokens(name); err != nil {
		return err
	}
	return c.exchange(name).remove()
}

// forgetTokens removes what a runner that is gone could still ask with.
func (c *Cloud) forgetTokens(name string) error {
	if !c.config.Policy.isOn() {
		return nil
	}
	return c.config.Policy.Forget(name)
}

// errCameBack is the end of an attempt to delete an instance that was off, and
// runs by now: LXD shows one that reboots as stopped in between.
var errCameBack = errors.New("it runs again")

// deleteInstance tries until the instance is gone. Another operation on it, a
// start or a stop, makes LXD refuse; the end of that operation is an event.
func (c *Cloud) deleteInstance(server server, name string, ours func(api.Instance) bool) error {
	for {
		err := c.tryDelete(server, name, ours)
		if errors.Is(err, errCameBack) {
			continue
		}
		if err == nil || !isBusy(err) {
			return err
		}
		if err := c.awaitIdle(server, name); err != nil {
			return err
		}
	}
}

func (c *Cloud) isOurs(instance api.Instance) bool {
	return c.kinship(instance) == runner.KinOurs
}

func (c *Cloud) tryDelete(server server, name string, ours func(api.Instance) bool) error {
	instance, _, err := server.GetInstance(name)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !ours(*instance) {
		return errors.New("it is not this unit's: somebody else made it")
	}
	var stopping error
	if instance.StatusCode != api.Stopped {
		// It may have stopped by itself meanwhile, or be broken so that it can't
		// be stopped: the deletion decides.
		stopping = server.power(name, "stop")
	}
	deletion := ignoreMissing(server.change(http.MethodDelete, apiPath("instances", name), nil, ""))
	if deletion == nil {
		c.dropRemains(server.ctx, *instance)
		return nil
	}
	if instance.StatusCode == api.Stopped && strings.Contains(deletion.Error(), "Instance is running") {
		return errCameBack
	}
	return errors.Join(stopping, deletion)
}

// awaitIdle waits until something has happened to the instance.
func (c *Cloud) awaitIdle(server server, name string) error {
	ctx, cancel := context.WithTimeout(server.ctx, busyRecheck)
	defer cancel()
	changes, err := c.events(ctx, isInstance(name))
	if err != nil {
		return err
	}
	select {
	case <-changes:
	case <-ctx.Done():
	}
	return context.Cause(server.ctx)
}
