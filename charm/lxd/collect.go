package lxd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

// Bounds of what Collect takes from an instance that ended abnormally.
const (
	collectDeadline = 20 * time.Second
	maxLogFiles     = 8
	maxLogFile      = 1 << 20
	maxLastLines    = 2 << 10
)

// Collect implements runner.Cloud. The logs of a runner that did not end well
// come from its exchange folder and, by LXD's file API, from the instance
// itself; whatever can't be read is left out, and logged.
func (c *Cloud) Collect(ctx context.Context, name, dir string) (runner.Remains, error) {
	if !c.config.Owner.Owns(name) {
		return runner.Remains{}, fmt.Errorf("cannot collect from instance %q: it is not one of unit %s", name, c.config.Owner.Unit)
	}
	left := c.exchange(name)
	remains := runner.Remains{
		PreJob:  c.readLeft(left, cloudinit.PreJobMetricsFile, maxMetricsFile),
		PostJob: c.readLeft(left, cloudinit.PostJobMetricsFile, maxMetricsFile),
	}
	if endedWell(remains.PostJob) {
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

	diag := c.readLeft(left, cloudinit.DiagFile, maxDiagFile)
	if err := keep(target, cloudinit.DiagFile, diag); err != nil {
		return remains, fmt.Errorf("cannot keep the logs of %s: %w", name, err)
	}
	logs, err := c.pullLogs(ctx, name, target)
	if err != nil {
		c.log.WithField("runner", name).WithError(err).Warn("some logs could not be read")
	}
	remains.LastLines = lastLines(logs[filepath.Base(cloudinit.LogPath)], diag, logs["cloud-init-output.log"])
	return remains, nil
}

// readLeft returns a file of the exchange folder, or nil.
func (c *Cloud) readLeft(left exchange, name string, limit int64) []byte {
	content, err := left.read(name, limit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.WithField("runner", left.name).WithError(err).Warn("what the runner left is ignored")
	}
	return content
}

// endedWell reports whether the machine itself said that its job went normally.
func endedWell(postJob []byte) bool {
	var left struct {
		Status string `json:"status"`
	}
	return json.Unmarshal(postJob, &left) == nil && left.Status == "normal"
}

// keep writes a log unless it is empty.
func keep(target *os.Root, name string, content []byte) error {
	if len(content) == 0 {
		return nil
	}
	return target.WriteFile(name, content, 0o600)
}

// pullLogs copies the service's, cloud-init's and the application's logs, the
// newest of the last, and returns them by name.
func (c *Cloud) pullLogs(ctx context.Context, name string, target *os.Root) (map[string][]byte, error) {
	server, cancel, err := c.connect(ctx, collectDeadline)
	if err != nil {
		return nil, err
	}
	defer cancel()
	files := []string{cloudinit.LogPath, "/var/log/cloud-init-output.log"}
	diag, problem := server.logNames(name, cloudinit.ApplicationDir+"/_diag")
	files = append(files, diag...)

	logs := map[string][]byte{}
	for _, file := range files {
		content, err := server.readFile(name, file)
		if err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		logs[path.Base(file)] = content
		problem = errors.Join(problem, keep(target, path.Base(file), content))
	}
	return logs, ignoreMissing(problem)
}

// logNames lists the newest log files of a folder in an instance: their names
// end with the time.
func (s server) logNames(instance, folder string) ([]string, error) {
	body, info, err := s.GetInstanceFile(instance, folder)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	if body != nil {
		body.Close()
	}
	var names []string
	for _, entry := range info.Entries {
		if strings.HasSuffix(entry, ".log") && path.Base(entry) == entry {
			names = append(names, path.Join(folder, entry))
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(logTime(b), logTime(a)) })
	return names[:min(len(names), maxLogFiles)], nil
}

// logTime is the part of "Runner_20260102-030405-utc.log" that sorts by time.
func logTime(name string) string {
	return name[strings.LastIndexByte(name, '_')+1:]
}

// readFile returns the end of a regular file in an instance; of a missing one,
// nothing. The connection's deadline ends reading what never ends.
func (s server) readFile(instance, name string) ([]byte, error) {
	body, info, err := s.GetInstanceFile(instance, name)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	if body == nil {
		return nil, nil
	}
	defer body.Close()
	if info.Type != "file" {
		return nil, nil
	}
	content, err := tail(body, maxLogFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in %s: %w", name, instance, err)
	}
	return content, nil
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

// lastLines is the end of the first log that has any, for a person to read:
// valid text without control characters.
func lastLines(logs ...[]byte) string {
	for _, log := range logs {
		log = bytes.TrimSpace(log)
		if len(log) == 0 {
			continue
		}
		log = log[max(0, len(log)-maxLastLines):]
		for len(log) > 0 && !utf8.RuneStart(log[0]) {
			log = log[1:]
		}
		return strings.Map(printable, strings.ToValidUTF8(string(log), "?"))
	}
	return ""
}

func printable(r rune) rune {
	if r != '\n' && r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
