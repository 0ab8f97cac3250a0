package lxd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// workerName is the process that GitHub's application starts for a job, as the
// kernel names it.
const workerName = "Runner.Worker"

// payload finds the container's name in a line of /proc/PID/cgroup. LXC calls
// the group of a container's processes "lxc.payload.<name>", in both versions of
// control groups.
var payload = regexp.MustCompile(`(?:^|/)lxc\.payload\.([A-Za-z0-9-]+)(?:/|$)`)

// workers returns the names of the containers that a job is at work in, seen
// from the host: one pass over its processes. Guests can fake it, to their own
// disadvantage only. With an error there may be more than those found.
func workers(proc string) (map[string]bool, error) {
	found := map[string]bool{}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return found, fmt.Errorf("cannot list the host's processes: %w", err)
	}
	var failure error
	for _, entry := range entries {
		if strings.Trim(entry.Name(), "0123456789") != "" {
			continue
		}
		name, err := workplace(filepath.Join(proc, entry.Name()))
		if err != nil {
			failure = fmt.Errorf("cannot look at process %s: %w", entry.Name(), err)
		}
		if name != "" {
			found[name] = true
		}
	}
	return found, failure
}

// workplace returns the container of a process that is a worker; "" for any
// other, and for one that has ended meanwhile.
func workplace(process string) (string, error) {
	comm, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil || string(bytes.TrimSpace(comm)) != workerName {
		return "", ignoreGone(err)
	}
	groups, err := os.ReadFile(filepath.Join(process, "cgroup"))
	if err != nil {
		return "", ignoreGone(err)
	}
	name, _ := container(groups)
	return name, nil
}

// ignoreGone turns the errors of a process that has ended into success.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// container returns the container that a process with these control groups
// belongs to: the outermost one of ours, where containers are nested.
func container(groups []byte) (string, bool) {
	lines := bufio.NewScanner(bytes.NewReader(groups))
	for lines.Scan() {
		if match := payload.FindStringSubmatch(lines.Text()); match != nil {
			return match[1], true
		}
	}
	return "", false
}
