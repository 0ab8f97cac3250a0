package services

import (
	"os"
	"path/filepath"
)

// AgentOffFile is what switches the resident agent off on a machine, as long as
// it is there: hooks alone look after the runners then.
const AgentOffFile = "/etc/github-runner/no-agent"

// AgentOffNote says so, for a person.
const AgentOffNote = "the resident agent is switched off by " + AgentOffFile

// AgentIsOff reports whether the resident agent is switched off on this machine.
// The root is put before /etc, for tests.
func AgentIsOff(root string) bool {
	_, err := os.Stat(filepath.Join("/", root, AgentOffFile))
	return err == nil
}
