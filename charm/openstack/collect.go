package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/cloudinit"
	"github-runner/charm/guest"
	"github-runner/charm/runner"
)

// Bounds of what Collect takes from a server, beside the runner's files.
const (
	maxConsoleLines = 400
	maxConsoleFile  = 64 << 10
)

// consoleFile is the name that the console's log is kept under.
const consoleFile = "console.log"

// Collect implements runner.Cloud. What a runner left is in its machine, and can be
// fetched as long as that runs: where it can't, the end of its console is all there
// is. Of a server that OpenStack gave up on it tells OpenStack's own reason.
func (c *Cloud) Collect(ctx context.Context, name, dir string) (runner.Remains, error) {
	if !c.config.Owner.Owns(name) {
		return runner.Remains{}, fmt.Errorf("cannot collect from server %q: it is not one of unit %s", name, c.config.Owner.Unit)
	}
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := c.session.open(ctx)
	if err != nil {
		return runner.Remains{}, err
	}
	one, found, err := c.own(ctx, in, name)
	if err != nil || !found {
		return runner.Remains{}, err
	}
	remains, diag := c.left(ctx, one)
	if remains.EndedWell() || remains.WasIdle(diag) {
		return remains, nil
	}
	console, err := in.console(ctx, one)
	if err != nil {
		c.log.WithField("runner", name).WithError(err).Warn("the console's log is missing")
	}
	remains.LastLines = cmp.Or(observe(one).Fault, runner.LastLines(diag, []byte(console)))
	for file, content := range map[string]string{cloudinit.DiagFile: string(diag), consoleFile: console} {
		if err := keepLog(dir, file, content); err != nil {
			return remains, fmt.Errorf("cannot keep the logs of %s: %w", name, err)
		}
	}
	return remains, nil
}

// left is what a runner left in its machine, as far as it can be read.
func (c *Cloud) left(ctx context.Context, one server) (remains runner.Remains, diag []byte) {
	preJob, postJob, log := exchangePath(cloudinit.PreJobMetricsFile), exchangePath(cloudinit.PostJobMetricsFile), exchangePath(cloudinit.DiagFile)
	files, err := c.read(ctx, one, []guest.File{
		{Path: preJob, Max: maxMetricsFile}, {Path: postJob, Max: maxMetricsFile}, {Path: log, Max: maxDiagFile, End: true},
	})
	if err != nil && !errors.Is(err, errShut) {
		c.log.WithField("runner", one.Name).WithError(err).Warn("what a runner left can't be read")
	}
	return runner.Remains{PreJob: files[preJob], PostJob: files[postJob]}, files[log]
}

// own is the server of ours with a name; of several, the first.
func (c *Cloud) own(ctx context.Context, in services, name string) (one server, found bool, err error) {
	all, err := in.named(ctx, name)
	for _, one := range all {
		if c.kinship(one) == runner.KinOurs && one.Status != statusDeleted {
			return one, true, nil
		}
	}
	return server{}, false, err
}

// console is the end of what a server printed; nothing where it never ran.
func (in services) console(ctx context.Context, one server) (string, error) {
	text, err := servers.ShowConsoleOutput(ctx, in.compute, one.ID, servers.ShowConsoleOutputOpts{Length: maxConsoleLines}).Extract()
	if status := statusOf(err); status == http.StatusNotFound || status == http.StatusConflict {
		return "", nil
	}
	return text[max(0, len(text)-maxConsoleFile):], cannot(err, "read the console of server %s", one.Name)
}

// keepLog writes a log into a folder, unless it is empty.
func keepLog(dir, name, content string) error {
	if content == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	target, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer target.Close()
	return target.WriteFile(name, []byte(content), 0o600)
}
