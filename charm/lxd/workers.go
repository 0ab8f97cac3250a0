package lxd

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
// disadvantage only.
func workers(proc string) map[string]bool {
	found := map[string]bool{}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return found
	}
	for _, entry := range entries {
		if strings.Trim(entry.Name(), "0123456789") != "" {
			continue
		}
		// A process may end at any time: what can't be read is gone.
		comm, err := os.ReadFile(filepath.Join(proc, entry.Name(), "comm"))
		if err != nil || string(bytes.TrimSpace(comm)) != workerName {
			continue
		}
		groups, err := os.ReadFile(filepath.Join(proc, entry.Name(), "cgroup"))
		if err != nil {
			continue
		}
		if name, ok := container(groups); ok {
			found[name] = true
		}
	}
	return found
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
