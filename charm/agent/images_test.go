package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// maker makes images when it is let.
type maker struct {
	mu sync.Mutex
	// due is why an image is due until one was made, err why none can be made.
	due string
	err error
	// looks counts how often was asked whether one is due, made the images.
	looks, made int
	locked      bool
	// began tells that a build has begun, goOn lets it go on.
	began, goOn chan struct{}
}

func newMaker(due string) *maker {
	return &maker{due: due, began: make(chan struct{}, 10), goOn: make(chan struct{})}
}

func (m *maker) Ready(context.Context) error { return errors.New("the agent's turns do that") }

func (m *maker) Current(context.Context) (image.Image, error) { return image.Image{}, nil }

func (m *maker) Retire(context.Context) error { return nil }

func (m *maker) Due(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	return m.due, nil
}

func (m *maker) Lock(context.Context, func()) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.locked = false
	}, nil
}

func (m *maker) Build(ctx context.Context, progress func(string)) (image.Built, error) {
	progress("installing packages")
	m.began <- struct{}{}
	select {
	case <-m.goOn:
	case <-ctx.Done():
		return image.Built{}, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return image.Built{}, m.err
	}
	m.made++
	m.due = ""
	return image.Built{Image: image.Image{Fingerprint: "f1"}}, nil
}

func (m *maker) set(change func(*maker)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// seen returns how often was looked, and how many were made.
func (m *maker) seen() (looks, made int, locked bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.looks, m.made, m.locked
}

func TestAgentMakesImages(t *testing.T) {
	s := newStage(t)
	s.images = newMaker("there is none yet")
	s.start()
	<-s.images.began
	names := s.untilRunning(3)
	if now := s.status().Image; now == nil || now.Doing != "installing packages" {
		t.Errorf("the status says %+v of the image", now)
	}
	// Runners are looked after all the while.
	s.finish(names[0])
	s.until("another runner", func() bool { return !slices.Contains(s.running(), names[0]) && len(s.running()) == 3 })
	s.as("a hook during a build", func(*unit.Hold) {})

	looks := s.github.looks()
	s.images.goOn <- struct{}{}
	s.until("the image", func() bool { return s.status().Image == nil })
	// Idle runners of the one before are to be replaced.
	s.until("a look at the runners", func() bool { return s.github.looks() > looks })
	s.apply(func(config map[string]any) { config["virtual-machines"] = 2 })
	s.untilRunning(2)
	s.stop()
	if _, made, locked := s.images.seen(); made != 1 || locked {
		t.Errorf("%d images were made; the machine's lock is held: %t", made, locked)
	}
}

func TestAgentThatEndsCallsOffItsImage(t *testing.T) {
	s := newStage(t)
	s.images = newMaker("there is none yet")
	s.start()
	<-s.images.began
	s.stop()
	if _, made, locked := s.images.seen(); made != 0 || locked {
		t.Errorf("%d images were made; the machine's lock is held: %t", made, locked)
	}
}

func TestAgentTellsWhyNoImageCouldBeMade(t *testing.T) {
	s := newStage(t)
	s.images = newMaker("there is none yet")
	s.images.err = errors.New("cannot build the image: no network")
	s.start()
	<-s.images.began
	s.images.goOn <- struct{}{}
	s.until("the error", func() bool {
		now := s.status().Image
		return now != nil && strings.Contains(now.LastError, "no network") && now.Doing == ""
	})
	s.untilRunning(3)
	remembered := func() (trouble unitdir.ImageTrouble) {
		s.as("a hook", func(hold *unit.Hold) { trouble = hold.Past.ImageTrouble })
		return trouble
	}
	s.until("the unit's memory of it", func() bool {
		trouble := remembered()
		return strings.Contains(trouble.Error, "no network") && !trouble.Since.IsZero()
	})
	// It is not tried again at once, but where another image is wanted.
	s.images.set(func(m *maker) { m.err = nil })
	s.apply(func(config map[string]any) { config["image-packages"] = "podman" })
	<-s.images.began
	s.images.goOn <- struct{}{}
	s.until("an end of the trouble", func() bool { return remembered() == unitdir.ImageTrouble{} })
	s.stop()
}

// A stock image that is being downloaded is no trouble.
func TestAgentWaitsForTheStockImage(t *testing.T) {
	i := images{board: newBoard("1"), log: logrus.NewEntry(logrus.New()), cancel: func() {}}
	now := time.Now()
	if i.settle(imageEnd{err: fmt.Errorf("cannot build the image: %w", runner.ErrPending)}, now) {
		t.Error("there is said to be a new image")
	}
	if i.news != nil || i.failures != 0 || i.next != now.Add(pendingLook) {
		t.Errorf("got the news %+v, %d failures, the next look after %v", i.news, i.failures, i.next.Sub(now))
	}
}

// What is no longer wanted is not made to its end.
func TestAgentCallsOffAnImageThatIsNotWantedAnyMore(t *testing.T) {
	s := newStage(t)
	s.images = newMaker("there is none yet")
	s.start()
	<-s.images.began
	s.apply(func(config map[string]any) { config["labels"] = "gpu" }) // no matter of images
	s.apply(func(config map[string]any) { config["image-packages"] = "podman" })
	<-s.images.began
	s.apply(func(config map[string]any) { config["image-interval"] = 0 })
	s.until("the end of it", func() bool { _, _, locked := s.images.seen(); return !locked })
	s.stop()
	if _, made, _ := s.images.seen(); made != 0 {
		t.Errorf("%d images were made", made)
	}
}

func TestAgentMakesNoImageWhereNoneIsWanted(t *testing.T) {
	for name, change := range map[string]func(*state.Source){
		"by hand alone":        func(source *state.Source) { source.Config["image-interval"] = 0 },
		"no runners":           func(source *state.Source) { source.Config["virtual-machines"] = 0 },
		"in memory":            func(source *state.Source) { source.Config["runner-storage"] = "memory" },
		"that of the relation": func(source *state.Source) { source.Image = map[string]map[string]string{"builder/0": {"id": "f1"}} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.images = newMaker("there is none yet")
			s.applySource(change)
			s.start()
			s.until("a turn", func() bool { return !s.status().Reconciled.IsZero() && s.status().Doing == waiting })
			s.stop()
			if looks, _, _ := s.images.seen(); looks != 0 {
				t.Errorf("it was looked %d times", looks)
			}
		})
	}
}

// The image of a relation is used in the place of one that the unit makes.
func TestAgentCallsOffItsImageForTheOneOfARelation(t *testing.T) {
	s := newStage(t)
	s.images = newMaker("there is none yet")
	s.start()
	<-s.images.began
	s.applySource(func(source *state.Source) { source.Image = map[string]map[string]string{} })
	s.until("the end of it", func() bool { _, _, locked := s.images.seen(); return !locked })
	s.apply(func(map[string]any) {})
	<-s.images.began
	s.images.goOn <- struct{}{}
	s.until("the image", func() bool { _, made, _ := s.images.seen(); return made == 1 })
	s.stop()
}

// Builds that fail are tried ever more seldom, also where the state does not change.
func TestRestBetweenImages(t *testing.T) {
	var i images
	broken := errors.New("broken")
	last := time.Duration(0)
	for range 20 {
		rest := i.rest(broken)
		if rest < last/2 || rest > maxImageBackOff*5/4 {
			t.Errorf("after %v comes %v", last, rest)
		}
		last = rest
	}
	if last < maxImageBackOff*3/4 {
		t.Errorf("after 20 failures it rests %v", last)
	}
	if rest := i.rest(nil); rest > imageLook*5/4 {
		t.Errorf("after an image it rests %v", rest)
	}
	if rest := i.rest(broken); rest > firstImageBackOff*5/4 {
		t.Errorf("after a first failure it rests %v", rest)
	}
}
