package unit

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/takeover"
	"github-runner/charm/unitdir"
)

// Host is the machine that runners live on, where the charm must install
// something there first.
type Host interface {
	// Install installs what is missing, at any time and from any hook. It is
	// quick where nothing is.
	Install(ctx context.Context, progress func(text string)) error
	// Installed reports whether runners can ever have been made here.
	Installed() bool
}

// Former are the runners and the leftovers of another charm that the unit was
// refreshed from. Their names are in what they return, for a person.
type Former interface {
	// Look finds its runners that are still there.
	Look(ctx context.Context) (takeover.Runners, error)
	// Release lets go of at most so many free ones, removes those that have
	// ended, and returns who is left.
	Release(ctx context.Context, most int) (takeover.Runners, error)
	// RemoveAll removes all of them, busy or not, and returns whose
	// registration GitHub still holds.
	RemoveAll(ctx context.Context) (removed int, left []string, err error)
	// Tidy removes what they do not need, and in the end the rest.
	Tidy(ctx context.Context) error
}

// Images makes images for the runners of one state.
type Images interface {
	// Ready makes what a machine for images needs. The unit must be held.
	Ready(ctx context.Context) error
	// Lock waits until nobody else on the unit's machine makes an image; waiting is
	// called where somebody does.
	Lock(ctx context.Context, waiting func()) (release func(), err error)
	// Current is the image that was put in the stock image's place, see image.Cloud.
	Current(ctx context.Context) (image.Image, error)
	// Due says why another should be made; "" where none need be. For neither must the
	// unit be held.
	Due(ctx context.Context) (reason string, err error)
	// Build makes an image and lets runners start from it, see image.Build. The unit
	// need not be held.
	Build(ctx context.Context, progress func(string)) (image.Built, error)
	// Retire deletes the images that nobody needs once the unit is gone.
	Retire(ctx context.Context) error
}

// Fleet is everything that one state of the charm works with.
type Fleet struct {
	Manager *runner.Manager
	// Host is nil where nothing is to be installed.
	Host Host
	// Former is nil where nothing of another charm's is left.
	Former Former
	// Images makes images for the runners; nil on a cloud that makes none.
	Images Images
	// Queue tells which jobs of a repository wait for a runner.
	Queue func(context.Context, runner.Scope) (runner.Queue, error)
	// Version is the version of the runner application as far as this fleet
	// had to find out; else empty. Juju's status shows it.
	Version func() string
	// Budget is what GitHub last said of the rate limit; zero while it said
	// nothing.
	Budget func() Budget
	// Close lets go of connections.
	Close func()
}

// Budget is how many calls of GitHub are left until Reset, of Limit in an hour.
type Budget struct {
	Limit     int       `json:"limit"`
	Remaining int       `json:"remaining"`
	Reset     time.Time `json:"reset"`
}

// Materials are what a fleet is built from besides the state.
type Materials struct {
	Dir *unitdir.Dir
	// Storage is where Juju attached the unit's storage; empty without one.
	Storage string
	// FormerCredentials are those that were valid where runners may still be
	// registered.
	FormerCredentials map[runner.Scope]state.Credential
	Memory            runner.Memory
	Save              func(runner.Memory) error
	// FormerCharm is what is known of the charm that the unit was refreshed
	// from, in the folder CharmDir.
	FormerCharm     takeover.Memory
	SaveFormerCharm func(takeover.Memory) error
	CharmDir        string
	Progress        func(text string)
	Log             *logrus.Entry
}

// Assemble builds the fleet for a state, without touching the world.
type Assemble func(state.CharmState, Materials) (Fleet, error)
