package lxd

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	CreateFails   Kind = "create-fails"
	CreateHalf    Kind = "create-half"
	CreateHangs   Kind = "create-hangs"
	StartFails    Kind = "start-fails"
	StartHangs    Kind = "start-hangs"
	StopHangs     Kind = "stop-hangs"
	DeleteFails   Kind = "delete-fails"
	DeleteHangs   Kind = "delete-hangs"
	ExecHangs     Kind = "exec-hangs"
	PoolFull      Kind = "pool-full"
	DiskQuota     Kind = "disk-quota"
	ImageGone     Kind = "image-gone"
	NoSubnet      Kind = "no-subnet"
	CallFails     Kind = "call-fails"
	SlowAnswers   Kind = "slow"
	LostAnswer    Kind = "lost-answer"
	EventsLost    Kind = "events-lost"
	AppExits      Kind = "app-exits"
	NeverOnline   Kind = "never-online"
	SlowBoot      Kind = "slow-boot"
	LongPreJob    Kind = "long-pre-job"
	PowerOffHangs Kind = "power-off-hangs"
	NoKVM         Kind = "no-kvm"
	NoAgent       Kind = "no-agent"
	LateAgent     Kind = "late-agent"
	MountFails    Kind = "mount-fails"
	OddStatus     Kind = "odd-status"
	PublishFails  Kind = "publish-fails"
	PublishHangs  Kind = "publish-hangs"
	DownloadFails Kind = "download-fails"
	DownloadHangs Kind = "download-hangs"
	BuildFails    Kind = "image-build-fails"
	BuildHangs    Kind = "image-build-hangs"
)

// kinds say of each kind what it does, what its name pattern is compared with
// and what its duration means.
var kinds = map[Kind]string{
	CreateFails:   "creating an instance fails with --message, and leaves nothing",
	CreateHalf:    "creating an instance fails with --message, and leaves a stopped instance without a root disk",
	CreateHangs:   "creating an instance never ends; the instance is there, stopped",
	StartFails:    "starting an instance fails with --message",
	StartHangs:    "starting an instance never ends",
	StopHangs:     "stopping an instance never ends",
	DeleteFails:   "deleting an instance fails with --message",
	DeleteHangs:   "deleting an instance never ends",
	ExecHangs:     "a command in an instance never ends",
	DiskQuota:     "an instance's disk is smaller than its image: creating fails",
	PoolFull:      "no storage pool has room: creating fails, and the pools' resources say so",
	ImageGone:     "the image aliases that fit --name are not there",
	NoSubnet:      "LXD finds no free subnet for a new network",
	CallFails:     "calls whose \"METHOD /path\" fits --name fail with --status and --message",
	SlowAnswers:   "answers to paths that fit --name come --for later",
	LostAnswer:    "changes to paths that fit --name are made, but the connection is cut before the answer",
	EventsLost:    "events are not sent",
	AppExits:      "the runner application exits as soon as it starts, saying --message; an image's trial says so",
	NeverOnline:   "the runner application starts but never comes online",
	SlowBoot:      "a guest needs --for to boot",
	LongPreJob:    "the pre-job script takes --for",
	PowerOffHangs: "a guest does not power off at its end",
	NoKVM:         "LXD can't run virtual machines",
	NoAgent:       "the agent of a virtual machine never comes up, so that cloud-init gets nothing",
	LateAgent:     "the agent of a virtual machine comes up --for after power-on",
	MountFails:    "the exchange folder is not mounted in a virtual machine, whose runner gives up --for later",
	OddStatus:     "an instance that runs shows the status --message: Error, Ready or Frozen",
	PublishFails:  "making an image of an instance fails with --message, else as for want of room",
	PublishHangs:  "making an image of an instance never ends",
	DownloadFails: "downloading an image whose alias fits --name fails with --message",
	DownloadHangs: "downloading an image whose alias fits --name never ends",
	BuildFails:    "a machine that makes itself into an image fails, saying --message",
	BuildHangs:    "a machine that makes itself into an image never ends",
}

// Kinds returns all kinds with what they do, sorted.
func Kinds() []string {
	var lines []string
	for kind, does := range kinds {
		lines = append(lines, fmt.Sprintf("%-17s %s", kind, does))
	}
	slices.Sort(lines)
	return lines
}

// Fault is one thing that goes wrong on purpose.
type Fault struct {
	ID   int  `json:"id"`
	Kind Kind `json:"kind"`
	// Name is a shell pattern for what is concerned, mostly an instance's
	// name; "": everything.
	Name string `json:"name,omitempty"`
	// Count is how many times it happens; 0: until it is cleared.
	Count int `json:"count,omitempty"`
	// Message is what the daemon says.
	Message string `json:"message,omitempty"`
	// For is how long it takes, where that means something.
	For time.Duration `json:"for,omitempty"`
	// Status is the HTTP status of a failing call; 0: 500.
	Status int `json:"status,omitempty"`
	// Hits is how many times it has happened.
	Hits int `json:"hits"`
}

func (f *Fault) message(standard string) string {
	return cmp.Or(f.Message, standard)
}

func (f *Fault) duration(standard time.Duration) time.Duration {
	return cmp.Or(f.For, standard)
}

func (f *Fault) status() int {
	return cmp.Or(f.Status, http.StatusInternalServerError)
}

func (f *Fault) fits(kind Kind, name string) bool {
	if f.Kind != kind || f.Count > 0 && f.Hits >= f.Count {
		return false
	}
	if f.Name == "" {
		return true
	}
	// Stars match slashes, too: paths are to be matched by "*/state".
	flat := strings.NewReplacer("/", "\x00")
	ok, err := path.Match(flat.Replace(f.Name), flat.Replace(name))
	return ok && err == nil
}

// AddFault puts a fault into force and returns it with its ID.
func (s *Server) AddFault(fault Fault) (Fault, error) { return s.faults.add(fault) }

// Faults returns the faults that were added and not cleared, oldest first.
func (s *Server) Faults() []Fault { return s.faults.list() }

// ClearFaults ends the fault with an ID, all of a kind, or all when what is
// empty; it returns how many it ended.
func (s *Server) ClearFaults(what string) int { return s.faults.clear(what) }

type faults struct {
	mu   sync.Mutex
	next int
	all  []*Fault
}

func newFaults() *faults {
	return &faults{next: 1}
}

// add checks a fault and puts it into force.
func (f *faults) add(fault Fault) (Fault, error) {
	if kinds[fault.Kind] == "" {
		return Fault{}, fmt.Errorf("unknown kind of fault %q; known are:\n  %s", fault.Kind, strings.Join(Kinds(), "\n  "))
	}
	if _, err := path.Match(fault.Name, ""); err != nil {
		return Fault{}, fmt.Errorf("bad name pattern %q: %w", fault.Name, err)
	}
	if _, known := oddStatuses[fault.message("Error")]; fault.Kind == OddStatus && !known {
		return Fault{}, fmt.Errorf("bad status %q: it is one of Error, Ready, Frozen", fault.Message)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fault.ID, fault.Hits = f.next, 0
	f.next++
	f.all = append(f.all, &fault)
	return fault, nil
}

func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	shown := make([]Fault, 0, len(f.all))
	for _, fault := range f.all {
		shown = append(shown, *fault)
	}
	return shown
}

// clear ends the fault with an ID, or all of a kind, or all when what is "".
func (f *faults) clear(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.all)
	f.all = slices.DeleteFunc(f.all, func(fault *Fault) bool {
		return what == "" || what == string(fault.Kind) || what == fmt.Sprint(fault.ID)
	})
	return before - len(f.all)
}

// take returns the first fault in force of a kind that fits name, and counts
// it; nil when nothing goes wrong.
func (f *faults) take(kind Kind, name string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.all {
		if fault.fits(kind, name) {
			fault.Hits++
			taken := *fault
			return &taken
		}
	}
	return nil
}
