package lxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/unitdir"
)

// keyImages marks an instance that is a unit's machine for images.
const keyImages = "user.github-runner.images"

// imageFiles are what a machine for images is expected to leave.
var imageFiles = files{image.ProgressFile: true, image.ResultFile: true}

// maxProgress bounds the line of progress that is passed on, in bytes.
const maxProgress = 200

// Run implements image.Cloud. Where ctx ends, the machine is left as it is.
func (i Images) Run(ctx context.Context, fingerprint string, userData []byte, progress func(string)) ([]byte, error) {
	if err := i.start(ctx, fingerprint, userData); err != nil {
		return nil, err
	}
	machine := i.cloud.exchange(i.cloud.config.imageMachine())
	if err := i.awaitPowerOff(ctx, machine, progress); err != nil {
		return nil, withLastLines(err, machine.said())
	}
	result, err := machine.read(image.ResultFile, image.MaxFile)
	if err != nil {
		return nil, i.gone(ctx, machine, err)
	}
	return result, nil
}

// start makes the machine and switches it on. It is made as runners are: on their
// bridge, with their resources.
func (i Images) start(ctx context.Context, fingerprint string, userData []byte) error {
	c := i.cloud
	name := c.config.imageMachine()
	server, cancel, err := c.connect(ctx, createDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if err := i.deleteMachine(server); err != nil {
		return err
	}
	// The folder comes first and goes last, and is there all the while: where there is
	// none, nothing is left.
	if _, err := c.exchange(name).renew(); err != nil {
		return err
	}
	cacheable, err := c.cacheable(server)
	if err != nil {
		return err
	}
	request := api.InstancesPost{
		Name:   name,
		Type:   api.InstanceType(c.config.InstanceType),
		Source: api.InstanceSource{Type: "image", Fingerprint: fingerprint},
		InstancePut: api.InstancePut{
			Profiles: []string{c.profileName(cacheable)},
			Config: map[string]string{
				keyModel:         c.config.Owner.ModelUUID,
				keyUnit:          c.config.Owner.Unit,
				keyImages:        "true",
				keyUserData:      string(userData),
				"boot.autostart": "false",
			},
			Devices: map[string]map[string]string{
				exchangeDevice: c.exchange(name).device(),
				"root":         c.rootDisk(c.config.imageDisk(), cacheable),
			},
		},
	}
	return c.launch(server, request)
}

// awaitPowerOff waits until the machine has switched itself off, and passes on what it
// says meanwhile.
func (i Images) awaitPowerOff(ctx context.Context, machine exchange, progress func(string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	vigil, err := i.cloud.keepVigil(ctx, machine.name, imageFiles)
	if err != nil {
		return err
	}
	var shown string
	var off time.Time
	for {
		vigil.listen(ctx)
		if line := machine.progress(); line != "" && line != shown {
			shown = line
			progress(line)
		}
		over, err := i.isOver(ctx, machine, &off)
		if over || errors.Is(err, image.ErrGone) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot wait any longer for the machine %s: %w", machine.name, ctx.Err())
		}
		if err != nil {
			i.cloud.log.WithError(err).Debug("whether the machine for images is off can't be seen")
		}
		vigil.wait(ctx, err != nil || !off.IsZero())
	}
}

// isOver reports whether the machine is off for good. Off is since when it was seen
// off; zero while it runs. A virtual machine that has left no result may be one that
// reboots at its first boot, see rebootTime.
func (i Images) isOver(ctx context.Context, machine exchange, off *time.Time) (bool, error) {
	server, cancel, err := i.cloud.connect(ctx, callDeadline)
	if err != nil {
		return false, err
	}
	defer cancel()
	instance, _, err := server.GetInstance(machine.name)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) {
		return false, fmt.Errorf("%w: instance %s is not there any more", image.ErrGone, machine.name)
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at instance %s: %w", machine.name, err)
	}
	if instance.StatusCode != api.Stopped {
		*off = time.Time{}
		return false, nil
	}
	if off.IsZero() {
		*off = time.Now()
	}
	left, err := machine.among(imageFiles)
	done := left[image.ResultFile] || instance.Type != VirtualMachine || time.Since(*off) >= rebootTime
	return done && err == nil, err
}

// progress is the line about what the machine does; "" where there is none. What it
// says is a guest's word.
func (e exchange) progress() string {
	content, err := e.read(image.ProgressFile, image.MaxFile)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(runner.LastLines(content), "\n")
	return strings.ToValidUTF8(line[:min(len(line), maxProgress)], "")
}

// said is the end of what the machine printed.
func (e exchange) said() string {
	diag, err := e.readEnd(cloudinit.DiagFile, maxDiagFile)
	if err != nil {
		return ""
	}
	return runner.LastLines(diag)
}

// gone is the error of a machine that is off and left no result.
func (i Images) gone(ctx context.Context, machine exchange, why error) error {
	err := image.ErrGone
	if !errors.Is(why, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", err, why)
	}
	lines := machine.said()
	if lines == "" {
		console, consoleErr := i.cloud.console(ctx, machine.name)
		if consoleErr != nil {
			i.cloud.log.WithError(consoleErr).Warn("the console's log of the machine for images is missing")
		}
		lines = runner.LastLines(console)
	}
	if lines == "" && i.cloud.config.InstanceType == VirtualMachine {
		lines = silence
	}
	return withLastLines(err, lines)
}

func withLastLines(err error, lines string) error {
	if lines == "" {
		return err
	}
	return fmt.Errorf("%w; the last that it printed: %s", err, lines)
}

// Clear implements image.Cloud. While LXD still packs an image, nothing is removed: that
// image would be there after it, and no trace of a build.
func (i Images) Clear(ctx context.Context) error {
	c := i.cloud
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if operation, err := i.packing(server); err != nil || operation != nil {
		return errors.Join(err, fmt.Errorf("cannot remove the machine %s: LXD makes an image", c.config.imageMachine()))
	}
	if err := i.deleteMachine(server); err != nil {
		return err
	}
	if err := c.sweepImages(server); err != nil {
		return err
	}
	return c.exchange(c.config.imageMachine()).remove()
}

// clearMachine removes the unit's machine for images at the unit's end. Others may make
// images meanwhile, so that those that are not in use stay. LXD gets some time to end
// what it packs of the machine, which Retire deletes then.
func (i Images) clearMachine(ctx context.Context) error {
	c := i.cloud
	server, cancel, err := c.connect(ctx, lastPacking+deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	operation, err := i.packing(server)
	if err == nil && operation != nil {
		err = server.glimpse(operation, lastPacking)
	}
	if err != nil {
		return cannot(err, "wait for the image of %s", c.config.imageMachine())
	}
	if operation != nil && !operation.StatusCode.IsFinal() {
		c.log.WithField("operation", operation.ID).Warn("LXD makes an image still that the charm does not wait for any longer: delete it when it is there")
	}
	if err := i.deleteMachine(server); err != nil {
		return err
	}
	return c.exchange(c.config.imageMachine()).remove()
}

// lastPacking is how long the removal of a unit waits for an image that nobody wants any
// more; see compressions for how long one takes.
const lastPacking = 4 * time.Minute

func (i Images) deleteMachine(server server) error {
	name := i.cloud.config.imageMachine()
	if err := i.cloud.deleteInstance(server, name, i.cloud.isImageMachine); err != nil {
		return fmt.Errorf("cannot delete instance %s: %w", name, err)
	}
	return nil
}

// packing returns the operation that makes an image of the unit's machine, maybe; nil
// where there is none, or no machine. LXD does not say of what it makes an image.
func (i Images) packing(server server) (*api.Operation, error) {
	if _, err := os.Lstat(i.cloud.exchange(i.cloud.config.imageMachine()).path()); err != nil {
		return nil, nil
	}
	return server.underWay(isPacking)
}

// clearLeftovers removes what is left of a build whose process was killed: nobody
// makes images while the lock is free. Runners need none of it, so that it is tried
// again where it fails.
func (c *Cloud) clearLeftovers(server server) {
	// In the steady state, only this is asked.
	if _, err := os.Lstat(c.exchange(c.config.imageMachine()).path()); err != nil || c.config.ImageLock == "" {
		return
	}
	release, ok, err := unitdir.TryLockPath(c.config.ImageLock)
	if err != nil {
		c.log.WithError(err).Warn("what is left of the making of an image stays for now")
	}
	if !ok {
		return
	}
	defer release()
	c.log.Warn("the making of an image was broken off: removing what it left")
	if err := c.Images().Clear(server.ctx); err != nil {
		c.log.WithError(err).Warn("what is left of the making of an image stays for now")
	}
}
