package openstack

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github-runner/charm/runner"
)

// Nova's words for what a server is.
const (
	statusBuild       = "BUILD"
	statusRebuild     = "REBUILD"
	statusShutOff     = "SHUTOFF"
	statusError       = "ERROR"
	statusDeleted     = "DELETED"
	statusSoftDeleted = "SOFT_DELETED"

	powerRunning = 1
)

// List implements runner.Cloud by one list of servers, in pages of what Nova gives
// at once: 1,000 by default. What is at work in a runner Inspect tells.
func (c *Cloud) List(ctx context.Context) ([]runner.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := c.session.open(ctx)
	if err != nil {
		return nil, err
	}
	all, err := in.list(ctx, c.shape())
	if err != nil {
		return nil, err
	}
	var result []runner.Instance
	seen := make(map[string]server, len(all))
	for _, one := range all {
		// Nova shows one that is gone for an instant.
		if one.Status == statusDeleted {
			continue
		}
		if c.isImageMachine(one) {
			c.leftovers.Store(true)
			continue
		}
		switch c.kinship(one) {
		case runner.KinOurs:
			seen[one.Name] = one
			result = append(result, observe(one))
		case runner.KinForeign:
			result = append(result, runner.Instance{Name: one.Name, Status: status(one), Foreign: true})
		}
	}
	c.seen.Store(&seen)
	return single(result), nil
}

// shape is the pattern of names that look like those of our runners.
func (c *Cloud) shape() string {
	return "^" + strings.ReplaceAll(c.config.Owner.Unit, "/", "-") + "-"
}

// single leaves one instance of each name, sorted, the most alive: Nova takes several
// servers of one name, and Delete removes all of them.
func single(all []runner.Instance) []runner.Instance {
	alive := []runner.Status{runner.StatusRunning, runner.StatusCreating, runner.StatusStopped, runner.StatusError, runner.StatusDeleting}
	slices.SortStableFunc(all, func(a, b runner.Instance) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(slices.Index(alive, a.Status), slices.Index(alive, b.Status)))
	})
	return slices.CompactFunc(all, func(a, b runner.Instance) bool { return a.Name == b.Name })
}

// observe describes one server of ours.
func observe(one server) runner.Instance {
	result := describe(one)
	result.Status = status(one)
	result.Working = runner.WorkingUnknown
	if result.Status != runner.StatusRunning {
		result.Working = runner.WorkingNo
	}
	if one.Status == statusError {
		result.Fault = cmp.Or(oneLine(one.Fault.Message), "OpenStack says no more than ERROR")
	}
	return result
}

// status translates Nova's status of a server. A word that is not known here says
// nothing of the job that may be at work there; nor does the status ERROR of a
// server that runs, and of which nothing has failed: an administrator has set it.
func status(one server) runner.Status {
	switch {
	case one.isDeleting():
		return runner.StatusDeleting
	case one.Status == statusBuild, one.Status == statusRebuild:
		return runner.StatusCreating
	case one.Status == statusShutOff && one.TaskState != "powering-on":
		return runner.StatusStopped
	case one.Status == statusError && (one.Power != powerRunning || one.Fault.Message != ""):
		return runner.StatusError
	}
	return runner.StatusRunning
}

// Watch implements runner.Cloud: OpenStack tells its users of nothing.
func (c *Cloud) Watch(context.Context) (<-chan struct{}, error) {
	return nil, nil
}
