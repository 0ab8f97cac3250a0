package lxd

import (
	"context"
	"fmt"
	"net/http"
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
		case ours:
			own = append(own, instance)
			alive[instance.Name] = true
		case foreign:
			alive[instance.Name] = true
			result = append(result, runner.Instance{Name: instance.Name, Status: status(instance, "", time.Now()), Foreign: true})
		}
	}
	activities, err := server.activities(own)
	if err != nil {
		return nil, err
	}
	working := map[string]bool{}
	if len(own) > 0 {
		working = workers("/proc")
	}
	for _, instance := range own {
		result = append(result, c.observe(instance, activities[instance.Name], working[instance.Name]))
	}
	for _, name := range folders {
		if !alive[name] {
			result = append(result, runner.Instance{Name: name, Status: runner.StatusTraces})
		}
	}
	slices.SortFunc(result, func(a, b runner.Instance) int { return strings.Compare(a.Name, b.Name) })
	return result, nil
}

// all returns every instance, whoever's. The client's own call for it writes the
// whole answer down once more, for a log that nobody reads: that was a third of
// the CPU time of a reconcile of a thousand runners.
func (s server) all() ([]api.Instance, error) {
	response, _, err := s.RawQuery(http.MethodGet, "/1.0/instances?recursion=1", nil, "")
	if err != nil {
		return nil, err
	}
	var instances []api.Instance
	err = response.MetadataAsStruct(&instances)
	return instances, err
}

// observe describes one instance of ours.
func (c *Cloud) observe(instance api.Instance, activity activity, worker bool) runner.Instance {
	left := c.exchange(instance.Name).list()
	result := describe(instance)
	result.Status = status(instance, activity, time.Now())
	result.TookJob = left[cloudinit.PreJobMetricsFile] || left[cloudinit.PreJobDoneFile] || worker
	result.PreJobDone = left[cloudinit.PreJobDoneFile]
	result.Completed = left[cloudinit.RunCompletedFile]
	result.Working = work(instance, result, left, worker)
	if result.Status == runner.StatusError {
		result.Fault = fault(instance)
	}
	return result
}

// work says whether a job is at work in an instance. Its files speak first; of a
// virtual machine nothing else can be seen.
func work(instance api.Instance, seen runner.Instance, left files, worker bool) runner.Working {
	switch {
	case seen.Status != runner.StatusRunning:
		return runner.WorkingNo
	case worker:
		return runner.WorkingYes
	case left[cloudinit.PostJobMetricsFile] || left[cloudinit.RunCompletedFile]:
		return runner.WorkingNo
	case left[cloudinit.PreJobMetricsFile] || left[cloudinit.PreJobDoneFile]:
		return runner.WorkingYes
	case instance.Type == VirtualMachine:
		return runner.WorkingUnknown
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

// status translates LXD's state of an instance.
func status(instance api.Instance, activity activity, now time.Time) runner.Status {
	switch {
	case activity == deleting:
		return runner.StatusDeleting
	case instance.StatusCode == api.Error:
		return runner.StatusError
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

func fault(instance api.Instance) string {
	if instance.StatusCode == api.Error {
		return "LXD says that the instance is in error"
	}
	return "it was created and never started"
}
