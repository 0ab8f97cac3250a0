package lxd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// Bounds of what Collect takes from an instance that ended abnormally.
const (
	collectDeadline = 20 * time.Second
	maxConsoleFile  = 64 << 10
)

// consoleFile is the name that the console's log is kept under.
const consoleFile = "console.log"

// Collect implements runner.Cloud. The logs of a runner that did not end well are
// those that it left in its exchange folder, and its console's. LXD's file API
// would reach more, but a named pipe that a job puts there makes it hang, and
// every later operation on the instance with it: the deletion, too.
func (c *Cloud) Collect(ctx context.Context, name, dir string) (runner.Remains, error) {
	if !c.config.Owner.Owns(name) {
		return runner.Remains{}, fmt.Errorf("cannot collect from instance %q: it is not one of unit %s", name, c.config.Owner.Unit)
	}
	left := c.exchange(name)
	remains := runner.Remains{
		PreJob:  c.known(left.read(cloudinit.PreJobMetricsFile, maxMetricsFile)),
		PostJob: c.known(left.read(cloudinit.PostJobMetricsFile, maxMetricsFile)),
	}
	diag := c.known(left.readEnd(cloudinit.DiagFile, maxDiagFile))
	if remains.EndedWell() || remains.WasIdle(diag) {
		return remains, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return remains, fmt.Errorf("cannot keep the logs of %s: %w", name, err)
	}
	target, err := os.OpenRoot(dir)
	if err != nil {
		return remains, fmt.Errorf("cannot keep the logs of %s: %w", name, err)
	}
	defer target.Close()

	if err := keep(target, cloudinit.DiagFile, diag); err != nil {
		return remains, fmt.Errorf("cannot keep the logs of %s: %w", name, err)
	}
	console, err := c.console(ctx, name)
	if err != nil {
		c.log.WithField("runner", name).WithError(err).Warn("the console's log is missing")
	}
	if err := keep(target, consoleFile, console); err != nil {
		return remains, fmt.Errorf("cannot keep the logs of %s: %w", name, err)
	}
	remains.LastLines = runner.LastLines(diag, console)
	if remains.LastLines == "" && remains.PreJob == nil && c.config.InstanceType == VirtualMachine {
		remains.LastLines = silence
	}
	return remains, nil
}

// silence is what it means when a virtual machine leaves nothing: LXD's other ways
// to look into one need lxd-agent, too.
const silence = "nothing, as where the image lacks cloud-init or lxd-agent; Ubuntu's have both"

// known passes on what could be read of what a runner left, and logs why nothing
// could.
func (c *Cloud) known(content []byte, err error) []byte {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.WithError(err).Warn("what a runner left is ignored")
	}
	return content
}

// keep writes a log unless it is empty.
func keep(target *os.Root, name string, content []byte) error {
	if len(content) == 0 {
		return nil
	}
	return target.WriteFile(name, content, 0o600)
}

// noConsole is how LXD says that it keeps no console's log of virtual machines.
const noConsole = "not container type"

// console returns the end of what an instance printed while it booted, or
// nothing when there is none.
func (c *Cloud) console(ctx context.Context, name string) ([]byte, error) {
	server, cancel, err := c.connect(ctx, collectDeadline)
	if err != nil {
		return nil, err
	}
	defer cancel()
	log, err := server.GetInstanceConsoleLog(name, nil)
	if err != nil && strings.Contains(err.Error(), noConsole) {
		return nil, nil
	}
	if err != nil {
		return nil, ignoreMissing(err)
	}
	defer log.Close()
	return tail(log, maxConsoleFile)
}

// maxRead bounds how much of a file is read to find its end.
const maxRead = 64 << 20

// tail returns the last limit bytes of what a reader gives.
func tail(r io.Reader, limit int) ([]byte, error) {
	var last []byte
	buffer := make([]byte, 64<<10)
	r = io.LimitReader(r, maxRead)
	for {
		n, err := r.Read(buffer)
		last = append(last, buffer[:n]...)
		if excess := len(last) - limit; excess > limit || err != nil && excess > 0 {
			last = append(last[:0], last[excess:]...)
		}
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
	}
}
