package openstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/unitdir"
)

// keyImages marks a server that is a unit's machine for images.
const keyImages = "github-runner.images"

const (
	// maxProgress bounds the line of progress that is passed on, in bytes.
	maxProgress = 200
	// offPatience is how long a machine that has said its result may take to switch
	// itself off.
	offPatience = 2 * time.Minute
	// wordPatience is how long the console of a machine that is off may lag.
	wordPatience = 15 * time.Second
)

// Run implements image.Cloud. What the machine says is read from its console: that
// is there when it is off, and needs no way into the network of the servers. Where ctx
// ends, the machine is left as it is.
func (i Images) Run(ctx context.Context, base string, userData []byte, progress func(string)) ([]byte, error) {
	id, err := i.start(ctx, base, userData)
	if err != nil {
		return nil, err
	}
	w := watch{Images: i, id: id, progress: progress}
	pause := newPace()
	for {
		over, err := w.look(ctx)
		if over || isFinal(err) {
			return w.result, err
		}
		if err != nil {
			i.cloud.log.WithError(err).Debug("what the machine for images does can't be seen")
		}
		if ended := pause.wait(ctx); ended != nil {
			ended = fmt.Errorf("cannot wait any longer for server %s: %w", i.cloud.config.imageName(), errors.Join(ended, err))
			return nil, withLastLines(ended, w.console)
		}
	}
}

// isFinal reports whether it makes no sense to look at a machine again.
func isFinal(err error) bool {
	return errors.Is(err, image.ErrGone) || errors.Is(err, runner.ErrForbidden) || errors.Is(err, runner.ErrUnauthorized)
}

// start makes the machine in place of one that is there, on the network, in the
// security group and with the flavor of the runners.
func (i Images) start(ctx context.Context, base string, userData []byte) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*workDeadline)
	defer cancel()
	c := i.cloud
	in, err := c.session.open(ctx)
	if err != nil {
		return "", err
	}
	if err := c.clearMachines(ctx, in); err != nil {
		return "", err
	}
	if err := c.awaitMachinesGone(ctx, in); err != nil {
		return "", err
	}
	flavor, err := c.findFlavor(ctx, in)
	if err != nil {
		return "", err
	}
	network, err := c.findNetwork(ctx, in)
	if err != nil {
		return "", err
	}
	groups, err := c.groups(ctx, in)
	if err != nil {
		return "", err
	}
	if len(groups) == 0 {
		return "", fmt.Errorf("cannot create server %s: the unit has no security group", c.config.imageName())
	}
	drive := true
	made, err := servers.Create(ctx, in.compute, servers.CreateOpts{
		Name:           c.config.imageName(),
		FlavorRef:      flavor.ID,
		ImageRef:       base,
		Networks:       []servers.Network{{UUID: network}},
		SecurityGroups: []string{groups[0].ID},
		UserData:       userData,
		ConfigDrive:    &drive,
		Metadata: map[string]string{
			runner.MarkModel:   c.config.Owner.ModelUUID,
			runner.MarkUnit:    c.config.Owner.Unit,
			keyImages:          "true",
			runner.MarkCreated: time.Now().UTC().Format(time.RFC3339Nano),
		},
	}, nil).Extract()
	if err != nil {
		return "", c.explainCreate(c.config.imageName(), err)
	}
	return made.ID, nil
}

// watch is what was seen of a machine for images that works.
type watch struct {
	Images
	id       string
	progress func(string)
	// shown is the last line of progress, console the end of what was printed.
	shown, console string
	// result is what it said at its end; nil: nothing yet.
	result []byte
	// said and off are since when there is a result, and since when the machine is off.
	said, off time.Time
}

// look looks at the machine once. It is over when the machine is off and its result is
// there.
func (w *watch) look(ctx context.Context) (over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	in, err := w.cloud.session.open(ctx)
	if err != nil {
		return false, err
	}
	var one server
	err = servers.Get(ctx, in.compute, w.id).ExtractInto(&one)
	if missing := err != nil && ignoreMissing(err) == nil; missing || one.Status == statusDeleted || one.isDeleting() {
		return false, withLastLines(fmt.Errorf("%w: server %s is not there any more", image.ErrGone, w.cloud.config.imageName()), w.console)
	}
	if err != nil {
		return false, cannot(err, "look at server %s", w.cloud.config.imageName())
	}
	if one.Status == statusError {
		return false, fmt.Errorf("%w: %s", image.ErrGone, observe(one).Fault)
	}
	if err := w.listen(ctx, in, one); err != nil {
		return false, err
	}
	if one.Status != statusShutOff {
		return false, w.switchOff(ctx, in)
	}
	if w.off.IsZero() {
		w.off = time.Now()
	}
	if w.result == nil && time.Since(w.off) >= wordPatience {
		return false, withLastLines(image.ErrGone, w.console)
	}
	return w.result != nil, nil
}

// listen reads the console and passes on what the machine does.
func (w *watch) listen(ctx context.Context, in services, one server) error {
	console, err := in.console(ctx, one)
	if err != nil {
		return err
	}
	w.console = console
	if line := progressIn(console); line != "" && line != w.shown {
		w.shown = line
		w.progress(line)
	}
	if w.result == nil {
		if w.result = resultIn(console); w.result != nil {
			w.said = time.Now()
		}
	}
	return nil
}

// switchOff stops a machine that has said its result, and stays on.
func (w *watch) switchOff(ctx context.Context, in services) error {
	if w.result == nil || time.Since(w.said) < offPatience {
		return nil
	}
	return cannot(servers.Stop(ctx, in.compute, w.id).ExtractErr(), "switch off server %s", w.cloud.config.imageName())
}

// resultIn is the last result on a console; nil where there is none. A prompt for a
// login may stand before it.
func resultIn(console string) []byte {
	line, ok := lastOf(console, image.ResultFile+" {")
	if !ok || len(line) > image.MaxFile {
		return nil
	}
	return []byte("{" + line)
}

// progressIn is what the machine does, by its console; "" where that can't be seen. It
// is a guest's word.
func progressIn(console string) string {
	line, _ := lastOf(console, image.ProgressFile+" ")
	line = runner.LastLines([]byte(line))
	return strings.ToValidUTF8(line[:min(len(line), maxProgress)], "")
}

// lastOf is what follows the last of a text's lines that a mark is in, up to its end.
// A line that has no end yet is not taken.
func lastOf(text, mark string) (rest string, ok bool) {
	for text != "" {
		at := strings.LastIndex(text, mark)
		if at < 0 {
			return "", false
		}
		if line, _, whole := strings.Cut(text[at+len(mark):], "\n"); whole {
			return strings.TrimRight(line, "\r"), true
		}
		text = text[:at]
	}
	return "", false
}

func withLastLines(err error, console string) error {
	lines := runner.LastLines([]byte(console))
	if lines == "" {
		return err
	}
	return fmt.Errorf("%w; the last that it printed: %s", err, lines)
}

// Clear implements image.Cloud. The machine goes first: its disk may depend on an
// image that is to go.
func (i Images) Clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := i.cloud.session.open(ctx)
	if err != nil {
		return err
	}
	if err := i.cloud.clearMachines(ctx, in); err != nil {
		return err
	}
	if err := i.cloud.awaitMachinesGone(ctx, in); err != nil {
		return err
	}
	return i.cloud.deleteImages(ctx, in, keptImages)
}

// imageMachines are the unit's machines for images: after a lost answer there may be
// more than one.
func (c *Cloud) imageMachines(ctx context.Context, in services) ([]server, error) {
	all, err := in.named(ctx, c.config.imageName())
	return slices.DeleteFunc(all, func(one server) bool { return !c.isImageMachine(one) || one.Status == statusDeleted }), err
}

// isImageMachine reports whether a server is the unit's machine for images.
func (c *Cloud) isImageMachine(one server) bool {
	owner := c.config.Owner
	return one.Name == c.config.imageName() && one.Metadata[keyImages] != "" && one.Metadata[runner.MarkModel] == owner.ModelUUID && one.Metadata[runner.MarkUnit] == owner.Unit
}

func (c *Cloud) clearMachines(ctx context.Context, in services) error {
	all, err := c.imageMachines(ctx, in)
	if err != nil {
		return err
	}
	var failures []error
	for _, one := range all {
		failures = append(failures, c.deleteServer(ctx, in, one))
	}
	return errors.Join(failures...)
}

// awaitMachinesGone waits until Nova has removed the machine for images.
func (c *Cloud) awaitMachinesGone(ctx context.Context, in services) error {
	pause := newPace()
	for {
		all, err := c.imageMachines(ctx, in)
		if err != nil || len(all) == 0 {
			return err
		}
		if err := pause.wait(ctx); err != nil {
			return fmt.Errorf("cannot see the end of server %s: OpenStack has not deleted it: %w", c.config.imageName(), err)
		}
	}
}

// clearLeftovers removes what is left of a build whose process was killed: nobody
// makes images while the lock is free. Runners need none of it, so that it is tried
// again where it fails.
func (c *Cloud) clearLeftovers(ctx context.Context, in services) {
	if !c.leftovers.Swap(false) || c.config.ImageLock == "" {
		return
	}
	release, ok, err := unitdir.TryLockPath(c.config.ImageLock)
	if ok {
		defer release()
		c.log.Warn("the making of an image was broken off: removing what it left")
		// An image that Nova still makes is listed already.
		err = errors.Join(c.clearMachines(ctx, in), c.deleteImages(ctx, in, keptImages))
	}
	if err != nil {
		c.log.WithError(err).Warn("what is left of the making of an image stays for now")
	}
}
