package openstack

import (
	"fmt"

	"github-runner/charm/runner"
)

// maxMetadata is how long a value of a server's metadata may be.
const maxMetadata = 255

// checkScope refuses a scope that a server can't be marked with.
func checkScope(scope runner.Scope) error {
	for option, value := range map[string]string{"github-url": scope.API, "path": scope.Path} {
		if len(value) > maxMetadata {
			return runner.Trouble{
				Advice: "shorten the option " + option,
				Err:    fmt.Errorf("%w: %d characters are too long for a server's metadata, at most %d fit", runner.ErrInvalid, len(value), maxMetadata),
			}
		}
	}
	return nil
}

// mark finds the marks of a server.
func (s server) mark(key string) string {
	return s.Metadata[key]
}

// describe fills in what the metadata of a server says.
func describe(one server) runner.Instance {
	return runner.Marked(one.Name, one.mark, one.Created)
}

// kinship tells our servers from those that merely look like ours.
func (c *Cloud) kinship(one server) runner.Kinship {
	return c.config.Owner.Kinship(one.Name, one.mark)
}
