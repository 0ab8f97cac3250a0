package state

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github-runner/charm/pattern"
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
var packageName = pattern.UpTo(100, `^[a-z0-9][a-z0-9+.-]+$`)

// ImageSource is where the stock image comes from.
type ImageSource struct {
	// Server is the https URL of a server with the protocol simplestreams, from which
	// LXD downloads the image; empty where the image has to be in LXD.
	Server string `json:"server,omitempty"`
	// Alias is the image's name there.
	Alias string `json:"alias,omitempty"`
	// Named is set where the option says so. Else an image in LXD that has the name of
	// the base image comes first.
	Named bool `json:"named,omitempty"`
}

// remotes are the servers that LXD's own client knows by these names.
var remotes = map[string]string{
	"ubuntu":               "https://cloud-images.ubuntu.com/releases",
	"ubuntu-daily":         "https://cloud-images.ubuntu.com/daily",
	"ubuntu-minimal":       "https://cloud-images.ubuntu.com/minimal/releases",
	"ubuntu-minimal-daily": "https://cloud-images.ubuntu.com/minimal/daily",
}

// localSource is the source of images that are in LXD.
const localSource = "local"

// imageAlias is what an image may be called in LXD and at a server.
var imageAlias = pattern.UpTo(128, `^[A-Za-z0-9][A-Za-z0-9._/+-]*$`)

// portStart is how what follows the host in an address with a port begins.
var portStart = regexp.MustCompile(`^[0-9]{1,5}(/|$)`)

// imageSource reads REMOTE:ALIAS, URL:ALIAS, local:ALIAS or local.
func (r *reader) imageSource(base string) ImageSource {
	value := r.text(optionImageSource)
	if value == "" {
		return ImageSource{Server: remotes["ubuntu"], Alias: base}
	}
	if value == localSource {
		return ImageSource{Alias: base, Named: true}
	}
	// The last colon: an address may have a port.
	at := strings.LastIndex(value, ":")
	source := ImageSource{Named: true, Alias: value[at+1:]}
	if where := value[:max(at, 0)]; where != localSource {
		source.Server = cmp.Or(remotes[where], strings.TrimRight(where, "/"))
	}
	if at < 0 || !source.isValid() || source.Server == "" && value[:at] != localSource {
		r.reject(Problem{Option: optionImageSource, Value: quoteSource(value), Fault: "is not valid", Right: "give ubuntu:22.04, ubuntu-daily:22.04, https://server/path:alias without a user name, local:alias, or local for what LXD has itself"})
		return ImageSource{}
	}
	return source
}

// quoteSource shows a source, unless it may hold a password.
func quoteSource(value string) string {
	if strings.Contains(value, "?") {
		return ""
	}
	return quoteURL(value)
}

func (s ImageSource) isValid() bool {
	if s.Server != "" {
		url, ok := parseURL(s.Server, "https")
		if !ok || url.User != nil || strings.ContainsAny(s.Server, "?#") {
			return false
		}
		if url.Path == "" && portStart.MatchString(s.Alias) {
			return false // the alias was forgotten, and the port taken for it
		}
	}
	return imageAlias.Matches(s.Alias)
}

func (r *reader) imagePackages() []string {
	names := r.list(optionImagePackages)
	for _, name := range names {
		if !packageName.Matches(name) {
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
