package lxd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// List implements runner.Cloud by one call to the daemon, a second one when an
// instance is not running, and a look into the exchange folders and the host's
// processes.
func (c *Cloud) List(ctx context.Context) ([]runner.Instance, error) {
	// The folders first: one that is made while the daemon answers belongs to an
	// instance that is not yet there, and is no trace.
	folders, err := c.traces()
	if err != nil {
		return nil, err
	}
	server, cancel, err := c.connect(ctx, callDeadline)
	if err != nil {
		return nil, err
	}
	defer cancel()
	all, err := server.all()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's instances: %w", classify(err))
	}

	var result []runner.Instance
	var own []api.Instance
	alive := map[string]bool{}
	for _, instance := range all {
		switch c.kinship(instance) {
		case runner.KinOurs:
			own = append(own, instance)
			alive[instance.Name] = true
		case runner.KinForeign:
			alive[instance.Name] = true
			result = append(result, runner.Instance{Name: instance.Name, Status: status(instance, "", time.Now()), Foreign: true})
		}
	}
	activities, err := server.activities(own)
	if err != nil {
		return nil, err
	}
	var working map[string]bool
	var unseen error
	if len(own) > 0 {
		if working, unseen = workers(c.config.Host.processes()); unseen != nil {
			c.log.WithError(unseen).Warn("which runners are at work can't be seen")
		}
	}
	c.power.keepOnly(stopped(own))
	for _, instance := range own {
		seen := sight{worker: working[instance.Name], blind: unseen != nil}
		result = append(result, c.observe(instance, activities[instance.Name], seen))
	}
	for _, name := range folders {
		if !alive[name] {
			result = append(result, runner.Instance{Name: name, Status: runner.StatusTraces})
		}
	}
	slices.SortFunc(result, func(a, b runner.Instance) int { return strings.Compare(a.Name, b.Name) })
	return result, nil
}

// sight is what can be seen of the work in an instance from the host.
type sight struct {
	left   files
	worker bool
	// blind is set where files or processes could not be looked at: what was
	// not seen may be there all the same.
	blind bool
}

// observe describes one instance of ours.
func (c *Cloud) observe(instance api.Instance, activity activity, seen sight) runner.Instance {
	left, err := c.exchange(instance.Name).list()
	if err != nil {
		c.log.WithField("runner", instance.Name).WithError(err).Warn("what the runner left can't be seen")
		seen.blind = true
	}
	seen.left = left
	result := describe(instance)
	result.Status = status(instance, activity, time.Now())
	if c.mayComeBack(instance, result.Status, left, time.Now()) {
		result.Status = runner.StatusCreating
	}
	result.TookJob = left[cloudinit.PreJobMetricsFile] || left[cloudinit.PreJobDoneFile] || seen.worker
	result.PreJobDone = left[cloudinit.PreJobDoneFile]
	result.Completed = left[cloudinit.RunCompletedFile]
	result.Working = work(instance, result.Status, seen)
	if result.Status == runner.StatusError {
		result.Fault = "it was created and never started"
	}
	return result
}

// work says whether a job is at work in an instance. Its files speak first; of a
// virtual machine nothing else can be seen.
func work(instance api.Instance, status runner.Status, seen sight) runner.Working {
	ended := seen.left[cloudinit.PostJobMetricsFile] || seen.left[cloudinit.RunCompletedFile]
	came := seen.left[cloudinit.PreJobMetricsFile] || seen.left[cloudinit.PreJobDoneFile]
	switch {
	case status != runner.StatusRunning:
		return runner.WorkingNo
	case seen.worker || came && !ended:
		return runner.WorkingYes
	case seen.blind || instance.StatusCode == api.Error:
		return runner.WorkingUnknown
	case instance.Type == VirtualMachine && !ended:
		return runner.WorkingUnseen
	}
	return runner.WorkingNo
}

// activity is what LXD is doing to an instance just now.
type activity string

const (
	creating activity = "creating"
	deleting activity = "deleting"
)

// activities returns what LXD is doing to those instances that do not run.
func (s server) activities(own []api.Instance) (map[string]activity, error) {
	if !slices.ContainsFunc(own, func(i api.Instance) bool { return i.StatusCode != api.Running }) {
		return nil, nil
	}
	operations, err := s.GetOperations()
	if err != nil {
		return nil, fmt.Errorf("cannot list LXD's operations: %w", classify(err))
	}
	result := map[string]activity{}
	for _, operation := range operations {
		if operation.StatusCode.IsFinal() {
			continue
		}
		for _, name := range instancesOf(operation) {
			result[name] = activityOf(operation)
		}
	}
	return result, nil
}

// instancesOf returns the names of the instances that an operation is about.
func instancesOf(operation api.Operation) []string {
	var names []string
	for _, kind := range []string{"instances", "containers", "virtual-machines"} {
		for _, resource := range operation.Resources[kind] {
			resource, _, _ = strings.Cut(resource, "?")
			names = append(names, resource[strings.LastIndexByte(resource, '/')+1:])
		}
	}
	return names
}

// activityOf reads LXD's description of an operation, the only place that says
// what it is.
func activityOf(operation api.Operation) activity {
	switch words := strings.ToLower(operation.Description); {
	case strings.HasPrefix(words, "creating"), strings.HasPrefix(words, "starting"):
		return creating
	case strings.HasPrefix(words, "deleting"):
		return deleting
	}
	return ""
}

// status translates LXD's state of an instance. LXD's "error" says only that it
// could not ask just now: the monitor of a busy container, or the QMP socket of a
// virtual machine, did not answer in time. A job may be at work there.
func status(instance api.Instance, activity activity, now time.Time) runner.Status {
	switch {
	case activity == deleting:
		return runner.StatusDeleting
	case instance.StatusCode != api.Stopped:
		return runner.StatusRunning
	case activity == creating:
		return runner.StatusCreating
	case instance.Config[keyPower] != "":
		return runner.StatusStopped
	case now.Sub(describe(instance).Created) < neverStartedTime:
		return runner.StatusCreating
	}
	return runner.StatusError
}
