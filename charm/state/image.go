package state

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxImageInterval is in days: from the 20th on a person is told that GitHub will
	// refuse the runner application.
	maxImageInterval = 14
	maxImagePackages = 200
	// maxImageScript is in bytes: a machine's user-data has to hold it.
	maxImageScript = 24 << 10
)

// packageName is Debian's rule for names of packages, with a bound.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,99}$`)

func (r *reader) imagePackages() []string {
	names := r.list(optionImagePackages)
	for _, name := range names {
		if !packageName.MatchString(name) {
			r.invalid(optionImagePackages, name, "give names of the distribution's packages, separated by commas, such as podman, libssl-dev")
			return nil
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxImagePackages {
		r.reject(Problem{Option: optionImagePackages, Fault: fmt.Sprintf("has %d packages", len(names)), Right: fmt.Sprintf("give at most %d, and install the others by image-script", maxImagePackages)})
		return nil
	}
	return names
}

// imageScript is not shown where it is wrong: it is long, and may hold passwords.
func (r *reader) imageScript() string {
	script := r.text(optionImageScript)
	if script == "" {
		return ""
	}
	script += "\n"
	if fault := scriptFault(script); fault != "" {
		r.reject(Problem{Option: optionImageScript, Fault: fault, Right: fmt.Sprintf("give a program of at most %d bytes that begins with #!, such as #!/bin/bash, with line feeds as line ends", maxImageScript)})
		return ""
	}
	return script
}

// scriptFault says why the kernel would not run a program, or no user-data hold it;
// "" where all is well.
func scriptFault(script string) string {
	switch {
	case !strings.HasPrefix(script, "#!"):
		return "does not begin with #!"
	case strings.ContainsAny(script, "\x00\r"):
		return "has carriage returns or NUL characters"
	case len(script) > maxImageScript:
		return fmt.Sprintf("has %d bytes", len(script))
	}
	return ""
}
