package lxd

import (
	"fmt"

	"github-runner/lab/faults"
	"github-runner/lab/guests"
)

// Kind is a kind of fault.
type Kind = faults.Kind

// Fault is one thing that goes wrong on purpose.
type Fault = faults.Fault

// Control gives an emulation the orders that a real daemon has no words for.
type Control = faults.Control

// Dial returns the control of the emulation with that control socket. It makes
// no call.
func Dial(socket string) *Control { return faults.Dial(socket) }

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
	AppExits           = guests.AppExits
	NeverOnline        = guests.NeverOnline
	SlowBoot      Kind = "slow-boot"
	LongPreJob         = guests.LongPreJob
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
	BuildFails         = guests.BuildFails
	BuildHangs         = guests.BuildHangs
)

// kinds say of each kind what it does, what its name pattern is compared with
// and what its duration means.
var kinds = faults.Kinds{
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
func Kinds() []string { return kinds.Lines() }

// checkFault refuses statuses that no instance has.
func checkFault(fault Fault) error {
	if _, known := oddStatuses[fault.Says("Error")]; fault.Kind == OddStatus && !known {
		return fmt.Errorf("bad status %q: it is one of Error, Ready, Frozen", fault.Message)
	}
	return nil
}

// AddFault puts a fault into force and returns it with its ID.
func (s *Server) AddFault(fault Fault) (Fault, error) { return s.faults.Add(fault) }

// Faults returns the faults that were added and not cleared, oldest first.
func (s *Server) Faults() []Fault { return s.faults.List() }

// ClearFaults ends the fault with an ID, all of a kind, or all when what is
// empty; it returns how many it ended.
func (s *Server) ClearFaults(what string) int { return s.faults.Clear(what) }
