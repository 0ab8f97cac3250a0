package simulation

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github-runner/charm/cloudinit"
)

// tricks are what jobs do that are up to no good, to the folder that they share
// with the host, by the name of the job.
var tricks = map[string]func(folder string) error{
	"removes its files": func(folder string) error {
		for _, name := range []string{cloudinit.PreJobMetricsFile, cloudinit.PreJobDoneFile, cloudinit.DiagFile} {
			if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
		return nil
	},
	"fills its folder": func(folder string) error {
		return os.WriteFile(filepath.Join(folder, "junk"), []byte(strings.Repeat("junk", 1<<18)), 0o600)
	},
	"writes too much": func(folder string) error {
		return os.WriteFile(filepath.Join(folder, cloudinit.PreJobMetricsFile), []byte(strings.Repeat("junk", 1<<14)), 0o600)
	},
	"leaves a pipe": func(folder string) error {
		os.Remove(filepath.Join(folder, cloudinit.PreJobMetricsFile))
		return syscall.Mkfifo(filepath.Join(folder, cloudinit.PreJobMetricsFile), 0o600)
	},
	"leaves a link": func(folder string) error {
		os.Remove(filepath.Join(folder, cloudinit.DiagFile))
		return os.Symlink("/etc/shadow", filepath.Join(folder, cloudinit.DiagFile))
	},
	"leaves a folder": func(folder string) error {
		os.Remove(filepath.Join(folder, cloudinit.PreJobMetricsFile))
		return os.Mkdir(filepath.Join(folder, cloudinit.PreJobMetricsFile), 0o700)
	},
	"claims to be done": func(folder string) error {
		return os.WriteFile(filepath.Join(folder, cloudinit.RunCompletedFile), nil, 0o600)
	},
}
