package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

const (
	// imageLook is about how often it is found out whether another image is due.
	imageLook = time.Hour
	// pendingLook is when it is found out anew where what an image is made of comes by
	// itself.
	pendingLook = time.Minute
	// firstImageBackOff and maxImageBackOff are the times after builds that failed.
	firstImageBackOff = 10 * time.Minute
	maxImageBackOff   = 6 * time.Hour
)

// images has runner images made beside the agent's turns, one at a time. Its fields
// are those of the goroutine that takes turns.
type images struct {
	board *board
	log   *logrus.Entry
	// ended tells how a look, and the build that followed, ended; nil while there is
	// none.
	ended  chan imageEnd
	cancel context.CancelFunc
	// next is when to look again.
	next     time.Time
	failures int // in a row
	// inputs are what the last look was for, changed is set where that has changed
	// since it began.
	inputs  string
	changed bool
	// news is what the unit is to remember of how the last look ended; nil where it does
	// already.
	news *unitdir.ImageTrouble
}

// imageEnd is how a look went.
type imageEnd struct {
	built image.Built // without a fingerprint where none was due
	err   error
}

// follow calls off what is done for another state than the one in force, where the two
// ask for other images, and has it looked at anew: what failed may work now, and what
// was good may not be.
func (i *images) follow(inForce state.CharmState) {
	inputs := imageInputs(inForce)
	if inputs == i.inputs {
		return
	}
	i.inputs = inputs
	i.next, i.failures, i.changed = time.Time{}, 0, true
	if i.ended != nil {
		i.cancel()
	}
}

// imageInputs are what of a state an image is made by, and where. They are kept in
// memory alone.
func imageInputs(s state.CharmState) string {
	return fmt.Sprintf("%q", []any{
		s.ImageLife, s.ImageRelation.Integrated, s.ImagePackages, s.ImageScript, s.BaseImage, s.ImageSource, s.InstanceType, s.Arch, s.Resources.Disk, s.Storage, s.Scope.API,
		s.Proxies.HTTP.Reveal(), s.Proxies.HTTPS.Reveal(), s.Proxies.NoProxy,
		s.OpenStack.Clouds.Reveal(), s.OpenStack.Flavor, s.OpenStack.Network, s.OpenStack.Image,
	})
}

// isTime reports whether to look whether an image is due.
func (i *images) isTime(now time.Time) bool {
	return i.ended == nil && !now.Before(i.next)
}

// begin looks whether an image is due and makes one, in a goroutine that ends with
// ctx. The fleet is its own.
func (i *images) begin(ctx context.Context, fleet unit.Fleet) {
	ctx, i.cancel = context.WithCancel(ctx)
	ended := make(chan imageEnd, 1)
	i.ended, i.changed = ended, false
	go func() {
		defer fleet.Close()
		var end imageEnd
		end.built, end.err = i.work(ctx, fleet.Images)
		ended <- end
	}()
}

func (i *images) work(ctx context.Context, maker unit.Images) (image.Built, error) {
	reason, err := maker.Due(ctx)
	if err != nil || reason == "" {
		return image.Built{}, err
	}
	release, err := maker.Lock(ctx, func() { i.board.image("waiting for another unit of this machine, which makes one") })
	if err != nil {
		return image.Built{}, err
	}
	defer release()
	// The units of a machine share their images.
	if reason, err = maker.Due(ctx); err != nil || reason == "" {
		return image.Built{}, err
	}
	i.log.WithField("why", reason).Info("making a runner image")
	return maker.Build(ctx, func(line string) {
		i.board.image(line)
		i.log.WithField("doing", line).Debug("making a runner image")
	})
}

// settle takes in how a look ended, and reports whether there is a new image.
func (i *images) settle(end imageEnd, now time.Time) bool {
	i.cancel()
	i.ended = nil
	if i.changed && errors.Is(end.err, context.Canceled) {
		i.board.imageEnded(nil)
		i.next = now
		i.log.Info("the making of a runner image was called off: another is wanted")
		return false
	}
	if errors.Is(end.err, runner.ErrPending) {
		i.board.imageEnded(nil)
		i.next = now.Add(pendingLook)
		i.log.WithError(end.err).Debug("no runner image can be made yet")
		return false
	}
	i.board.imageEnded(end.err)
	i.news = &unitdir.ImageTrouble{}
	if end.err != nil {
		i.news = &unitdir.ImageTrouble{Error: end.err.Error(), Since: now.UTC()}
	}
	wait := i.rest(end.err)
	i.next = now.Add(wait)
	if i.changed {
		i.next = now
	}
	if end.err != nil {
		i.log.WithError(end.err).WithField("again-in", wait.Round(time.Second)).Warn("no runner image could be made")
		return false
	}
	if end.built.Fingerprint == "" {
		return false
	}
	i.log.WithFields(logrus.Fields{"image": end.built.Fingerprint, "runner-version": end.built.RunnerVersion, "lacks": end.built.Skipped}).Info("there is a new runner image")
	return true
}

// rest is how long to wait after a look that ended so.
func (i *images) rest(err error) time.Duration {
	if err == nil {
		i.failures = 0
		return jitter(imageLook)
	}
	length := min(firstImageBackOff<<min(i.failures, 10), maxImageBackOff)
	i.failures++
	return jitter(length)
}

// stop calls off what is going on and waits for its end.
func (i *images) stop() {
	if i.ended == nil {
		return
	}
	i.cancel()
	<-i.ended
	i.ended = nil
}

// lookAfterImage begins to look whether an image is due. Where no runner is wanted,
// none is; where nothing answers, none could be made. The cloud has just prepared
// what machines need.
func (a *agent) lookAfterImage(ctx context.Context, inForce state.CharmState, stalled bool) {
	now := time.Now()
	a.noteImage(inForce)
	// A disk in memory is for runners: a machine for images is made there when a person
	// asks for it.
	unwanted := !inForce.MakesImages() || inForce.Storage == state.MemoryStorage || a.hold.Want(inForce).Count == 0
	if unwanted || stalled || a.fleet.Images == nil || !a.images.isTime(now) {
		return
	}
	fleet, err := a.Assemble(inForce, a.hold.Materials(inForce, ""))
	if err != nil {
		a.images.next = now.Add(imageLook)
		a.Log.WithError(err).Warn("no runner image can be made")
		return
	}
	a.images.begin(ctx, fleet)
}

// noteImage lets the unit remember how the last look ended, so that hooks can tell; the
// trouble of one that makes no images by itself is over.
func (a *agent) noteImage(inForce state.CharmState) {
	news := a.images.news
	if !inForce.MakesImages() {
		news = &unitdir.ImageTrouble{}
	}
	if news == nil || *news == a.hold.Past.ImageTrouble {
		return
	}
	if news.Error != "" && news.Error == a.hold.Past.ImageTrouble.Error {
		news.Since = a.hold.Past.ImageTrouble.Since
	}
	a.hold.Past.ImageTrouble = *news
	if err := a.hold.Write(); err != nil {
		a.Log.WithError(err).Warn("that no runner image could be made could not be written down")
		return
	}
	a.images.news = nil
}
