package openstack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github-runner/lab/faults"
	"github-runner/lab/guests"
)

// The kinds of faults.
const (
	CallFails     faults.Kind = "call-fails"
	RateLimited   faults.Kind = "rate-limited"
	SlowAnswers   faults.Kind = "slow"
	LostAnswer    faults.Kind = "lost-answer"
	LoginFails    faults.Kind = "login-fails"
	TokenRevoked  faults.Kind = "token-revoked"
	QuotaExceeded faults.Kind = "quota-exceeded"
	NoValidHost   faults.Kind = "no-valid-host"
	BuildHangs    faults.Kind = "build-hangs"
	DeleteHangs   faults.Kind = "delete-hangs"
	DeleteFails   faults.Kind = "delete-fails"
	PortLeft      faults.Kind = "port-left"
	Vanishes      faults.Kind = "vanishes"
	OddStatus     faults.Kind = "odd-status"
	ImageGone     faults.Kind = "image-gone"
	SnapshotFails faults.Kind = "snapshot-fails"
	SnapshotHangs faults.Kind = "snapshot-hangs"
	SlowBoot      faults.Kind = "slow-boot"
	PowerOffHangs faults.Kind = "power-off-hangs"
	SSHFails      faults.Kind = "ssh-fails"
	SSHHangs      faults.Kind = "ssh-hangs"
)

// kinds say of each kind what it does, what its name pattern is compared with
// and what its duration means.
var kinds = faults.Kinds{
	CallFails:     "calls whose \"METHOD /path\" fits --name fail with --status and --message, and have no effect",
	RateLimited:   "calls whose \"METHOD /path\" fits --name are refused with 429, to be tried again --for later",
	SlowAnswers:   "calls whose \"METHOD /path\" fits --name have their effect and answer --for later",
	LostAnswer:    "changes whose \"METHOD /path\" fits --name are made, but the connection is cut before the answer",
	LoginFails:    "Keystone gives users whose name fits --name no token",
	TokenRevoked:  "calls whose \"METHOD /path\" fits --name find their token revoked",
	QuotaExceeded: "creating a server is refused as if the project had no more instances",
	NoValidHost:   "a new server ends as ERROR with the fault --message",
	BuildHangs:    "a new server stays in BUILD, for --for or until it is deleted",
	DeleteHangs:   "a server that is deleted stays, deleting, for --for or for ever",
	DeleteFails:   "a server that is deleted ends as ERROR with the fault --message",
	PortLeft:      "deleting a server leaves its port",
	Vanishes:      "a server is gone at the next look at it",
	OddStatus:     "a server shows the status --message: PAUSED, REBUILD, SUSPENDED, UNKNOWN, …",
	ImageGone:     "images whose name fits --name are not there",
	SnapshotFails: "making an image of a server fails: the image is gone again",
	SnapshotHangs: "making an image of a server never ends",
	SlowBoot:      "a guest needs --for to boot",
	PowerOffHangs: "a guest does not power off at its end",
	SSHFails:      "a guest refuses connections by SSH",
	SSHHangs:      "a guest takes a connection by SSH and says nothing",

	guests.AppExits:    "the runner application exits as soon as it starts, saying --message; an image's trial says so",
	guests.NeverOnline: "the runner application starts but never comes online",
	guests.LongPreJob:  "the pre-job script takes --for",
	guests.BuildFails:  "a machine that makes itself into an image fails, saying --message",
	guests.BuildHangs:  "a machine that makes itself into an image never ends",
}

// GuestKinds are the kinds of faults that guests have whatever the cloud is.
func GuestKinds() faults.Kinds {
	of := []faults.Kind{PowerOffHangs, guests.AppExits, guests.NeverOnline, guests.LongPreJob, guests.BuildFails, guests.BuildHangs}
	all := make(faults.Kinds)
	for _, kind := range of {
		all[kind] = kinds[kind]
	}
	return all
}

// Kinds returns all kinds with what they do, sorted.
func Kinds() []string { return kinds.Lines() }

// oddStatuses are the statuses that Nova has beside those that the emulation's
// servers come to, and the states that they stand for.
var oddStatuses = map[string]string{
	"HARD_REBOOT": "active", "MIGRATING": "active", "PASSWORD": "active", "PAUSED": "paused", "REBOOT": "active",
	"REBUILD": "active", "RESCUE": "rescued", "RESIZE": "active", "REVERT_RESIZE": "resized", "SHELVED": "shelved",
	"SHELVED_OFFLOADED": "shelved_offloaded", "SOFT_DELETED": "soft-delete", "SUSPENDED": "suspended",
	"UNKNOWN": "active", "VERIFY_RESIZE": "resized", "DELETED": "deleted",
}

// checkFault refuses statuses that no server has.
func checkFault(fault faults.Fault) error {
	if fault.Kind != OddStatus || oddStatuses[fault.Message] != "" {
		return nil
	}
	return fmt.Errorf("bad status %q: it is one of %s", fault.Message, strings.Join(slices.Sorted(maps.Keys(oddStatuses)), ", "))
}

// AddFault puts a fault into force and returns it with its ID.
func (s *Server) AddFault(fault faults.Fault) (faults.Fault, error) { return s.faults.Add(fault) }

// Faults returns the faults that were added and not cleared, oldest first.
func (s *Server) Faults() []faults.Fault { return s.faults.List() }

// ClearFaults ends the fault with an ID, all of a kind, or all when what is
// empty; it returns how many it ended.
func (s *Server) ClearFaults(what string) int { return s.faults.Clear(what) }
