package runner

import (
	"context"
	"slices"
	"strings"
	"time"

	"github-runner/charm/secret"
)

// Cloud is a place where runners' machines live. It knows nothing of GitHub:
// the manager decides, the cloud does.
//
// Every method returns within a deadline of its own even if ctx has none, may
// be called from several goroutines, and reports its failures as the errors of
// this package where one fits (ErrUnreachable, ErrQuota, ErrUnauthorized, …),
// with what could not be done, so that they can be shown as they are.
type Cloud interface {
	// Prepare makes what runners need before they are born (network, storage,
	// profiles, image look-up) and repairs what was edited by hand. It is
	// idempotent. The template it returns is what Create takes. Where no runner
	// is wanted it repairs what is there and makes nothing new.
	Prepare(ctx context.Context, want Want) (Template, error)

	// List returns every instance of ours, and the traces of instances that are
	// no longer there (Status Traces). Foreign instances whose names have our
	// shape are returned with Foreign set; nothing may be done to them.
	List(ctx context.Context) ([]Instance, error)

	// Create makes and starts one instance; it does not wait until it has
	// booted. After an error the instance may exist all the same.
	Create(ctx context.Context, template Template, birth Birth) error

	// PreJobDone blocks until the runner's pre-job script has left its marker
	// or the runner is gone (nil), or until ctx ends (its error).
	PreJobDone(ctx context.Context, name string) error

	// Collect copies what the runner left into dir, bounded in size, hostile
	// content included: metrics files, and logs where it ended abnormally.
	Collect(ctx context.Context, name, dir string) (Remains, error)

	// Delete removes the instance and all that belongs to it alone, running or
	// not. It returns nil when it is already gone.
	Delete(ctx context.Context, name string) error

	// Watch sends when something of ours changed: an instance started, stopped
	// or went away, or a runner left a file. Changes are coalesced; the channel
	// is closed when ctx ends or the watch is lost. A cloud without events
	// returns a nil channel and no error.
	Watch(ctx context.Context) (<-chan struct{}, error)

	// Destroy removes all that Prepare made for this unit. It refuses (ErrBusy)
	// while instances of ours exist.
	Destroy(ctx context.Context) error
}

// Inspector is a Cloud whose List tells nothing of what happens in its instances,
// because looking into one costs a connection to it. The manager asks about those
// alone that GitHub has let go: only there does it matter.
type Inspector interface {
	// Inspect returns the instance of a name, as List did, with what can be found out
	// about the work in it: Working, TookJob, PreJobDone and Completed. After an error
	// nothing is known. It returns within a deadline of its own, and may be called from
	// several goroutines.
	Inspect(ctx context.Context, instance Instance) (Instance, error)
}

// Want is what the charm's user asked for, as far as every cloud and the
// manager must know it. What only one cloud needs it gets when it is made.
type Want struct {
	// Count is how many runners there should be.
	Count int
	// Scope is where they register.
	Scope Scope
	// Group is the name of the organisation's runner group.
	Group string
	// Labels are all labels that the runners register with.
	Labels []string
	// Application is the runner application that an image without one
	// downloads at its first start.
	Application Application
}

// CanonicalLabels are the labels as GitHub stores them, in an order of their own:
// clouds hash them.
func (w Want) CanonicalLabels() []string {
	result := make([]string, 0, len(w.Labels))
	for _, label := range w.Labels {
		result = append(result, strings.ToLower(label))
	}
	slices.Sort(result)
	return slices.Compact(result)
}

// Application is one downloadable build of GitHub's runner application.
type Application struct {
	Version string
	URL     string
	SHA256  string
}

// Template is a prepared recipe for runners.
type Template struct {
	// Hash identifies every input that a runner is made from, but nothing that
	// belongs to one runner alone and nothing that is live. The manager only
	// compares it.
	Hash string
	// Image is what its cloud calls the image that runners start from; "" where that
	// is the cloud's to know.
	Image string
	// Want is what the template was prepared for.
	Want Want
	// BootDeadline is how long a new runner may take to come online.
	BootDeadline time.Duration
	// Warnings are for a person: runners can be made, but something may go
	// wrong.
	Warnings []string
}

// Birth is what one new runner gets that no other has.
type Birth struct {
	Name     string
	Scope    Scope
	RunnerID int64
	// JIT is the encoded JIT configuration: single-use credentials.
	JIT secret.Text
}

// Status is the life of an instance as its cloud sees it.
type Status string

// The states of an instance.
const (
	// StatusCreating is an instance that is being made or has not yet started.
	StatusCreating Status = "creating"
	StatusRunning  Status = "running"
	StatusStopped  Status = "stopped"
	// StatusError is an instance that its cloud gave up on.
	StatusError    Status = "error"
	StatusDeleting Status = "deleting"
	// StatusTraces is no instance any more: only files or mounts are left.
	StatusTraces Status = "traces"
)

// Working says whether a job is at work in an instance.
type Working int

// What a cloud can know about the work in an instance.
const (
	WorkingUnknown Working = iota
	// WorkingUnseen: the runner's files could be read and tell of no job, but
	// the processes in it can't be seen.
	WorkingUnseen
	WorkingNo
	WorkingYes
)

// Instance is one machine of ours, as its cloud describes it.
type Instance struct {
	Name   string
	Status Status
	// Fault is the cloud's own words for what is wrong with it.
	Fault string

	// The metadata that the instance was created with.
	Scope    Scope
	RunnerID int64
	Created  time.Time
	Hash     string

	// Working is whether a job is at work in it, without asking GitHub.
	Working Working
	// TookJob is whether it ever took a job, as far as its files tell.
	TookJob bool
	// PreJobDone is whether the pre-job script left its marker.
	PreJobDone bool
	// Completed is whether the runner said that it has run to its end.
	Completed bool

	// Foreign marks an instance that has our name's shape without our
	// metadata: somebody else's, never touched.
	Foreign bool
}
