package github

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
)

// applicationName finds the version in a file name such as
// actions-runner-linux-x64-2.330.0.tar.gz.
var applicationName = regexp.MustCompile(`^actions-runner-linux-(?:x64|arm64)-([0-9]+(?:\.[0-9]+){1,3})(?:[-+][0-9A-Za-z.-]+)?\.tar\.gz$`)

// Application returns the build of the runner application for Linux on arch,
// GitHub's name for it ("x64" or "arm64"), that GitHub offers to a scope. One
// without a checksum is refused. It asks GitHub at most once an hour.
func (c *Client) Application(ctx context.Context, scope runner.Scope, arch string) (runner.Application, error) {
	defer c.answers.save()
	var found runner.Application
	err := c.do(ctx, call{scope: scope, credential: c.options.Credential}, func(ctx context.Context, api *gh.ActionsService) error {
		var list []*gh.RunnerApplicationDownload
		var err error
		if scope.IsOrganization() {
			list, _, err = api.ListOrganizationRunnerApplicationDownloads(ctx, owner(scope))
		} else {
			list, _, err = api.ListRunnerApplicationDownloads(ctx, owner(scope), repository(scope))
		}
		if err != nil {
			return err
		}
		if list == nil {
			return badAnswer("it lists no runner applications")
		}
		found, err = choose(list, arch)
		return err
	})
	if err != nil {
		return runner.Application{}, fmt.Errorf("cannot find the runner application of %s: %w", scope, err)
	}
	return found, nil
}

func choose(list []*gh.RunnerApplicationDownload, arch string) (runner.Application, error) {
	for _, one := range list {
		if one.GetOS() == "linux" && one.GetArchitecture() == arch {
			return checkApplication(one)
		}
	}
	return runner.Application{}, badAnswer("it offers no runner application for linux on %q", arch)
}

// checkApplication takes only what may go into a script that root runs.
func checkApplication(one *gh.RunnerApplicationDownload) (runner.Application, error) {
	none := runner.Application{}
	sum, err := hex.DecodeString(one.GetSHA256Checksum())
	if err != nil || len(sum) != 32 {
		return none, badAnswer("the runner application %q has no SHA-256 checksum", one.GetFilename())
	}
	address, err := url.Parse(one.GetDownloadURL())
	if err != nil || (address.Scheme != "https" && address.Scheme != "http") || address.Host == "" {
		return none, badAnswer("the runner application %q has no http or https address", one.GetFilename())
	}
	match := applicationName.FindStringSubmatch(one.GetFilename())
	if match == nil {
		return none, badAnswer("the file name %q of the runner application tells no version", one.GetFilename())
	}
	return runner.Application{
		Version: match[1],
		URL:     address.String(),
		SHA256:  strings.ToLower(one.GetSHA256Checksum()),
	}, nil
}
