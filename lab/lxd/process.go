package lxd

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
)

// Process shows a process of the guest among the host's, as far as anyone looks
// at it, and returns how to end it.
func (g *guest) Process(name string) (end func()) {
	options := g.server.options
	if options.Processes == "" || g.instance.Type != "container" {
		return func() {}
	}
	folder := filepath.Join(options.Processes, strconv.FormatInt(g.server.pids.Add(1), 10))
	err := errors.Join(
		os.MkdirAll(folder, 0o755),
		os.WriteFile(filepath.Join(folder, "cgroup"), []byte("0::/lxc.payload."+g.name+"/system.slice\n"), 0o644),
		os.WriteFile(filepath.Join(folder, "comm"), []byte(name+"\n"), 0o644),
	)
	if err != nil {
		options.Log.WithError(err).WithField("instance", g.name).Warn("a guest's process can't be shown")
	}
	return func() {
		if err := os.RemoveAll(folder); err != nil {
			options.Log.WithError(err).WithField("instance", g.name).Warn("a guest's process can't be ended")
		}
	}
}
