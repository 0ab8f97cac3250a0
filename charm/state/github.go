package state

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github-runner/charm/pattern"
	"github-runner/charm/runner"
)

// What GitHub allows in names: owners have letters, digits and hyphens (and an
// underscore before the short code of a managed user), repositories dots, too.
var (
	ownerName      = pattern.UpTo(39, `^[A-Za-z0-9_-]+$`)
	repositoryName = pattern.UpTo(100, `^[A-Za-z0-9._-]+$`)
)

const rightPath = "give owner/repository or the name of an organisation, such as acme/widgets or acme"

// path returns "owner/repository" or "organisation". Slashes at the ends of the former
// are dropped; beside a single name they tell of another that is missing.
func (r *reader) path() string {
	value := r.text(optionPath)
	if value == "" {
		r.missing(optionPath, rightPath)
		return ""
	}
	path := strings.Trim(value, "/")
	if !isPath(path) || path != value && !strings.Contains(path, "/") {
		r.invalid(optionPath, value, rightPath)
		return ""
	}
	return path
}

func isPath(path string) bool {
	owner, repository, isRepository := strings.Cut(path, "/")
	if !ownerName.Matches(owner) {
		return false
	}
	if !isRepository {
		return true
	}
	// GitHub takes the ending .git off a repository's name.
	return repositoryName.Matches(repository) &&
		repository != "." && repository != ".." && !strings.HasSuffix(repository, ".git")
}

const rightServer = "give the address of the server's web pages without a path, such as https://github.com or https://github.example.com"

// server returns the address of the GitHub server and that of its API.
func (r *reader) server() (address, api string) {
	value := r.text(optionGitHubURL)
	u, ok := parseURL(value, "https", "http")
	if !ok || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		r.reject(Problem{Option: optionGitHubURL, Value: quoteURL(value), Fault: "is not valid", Right: rightServer})
		return "", ""
	}
	host := strings.ToLower(u.Host)
	switch strings.TrimPrefix(host, "www.") {
	case "github.com", "api.github.com", "github.com:443":
		if u.Scheme == "https" {
			return "https://github.com", "https://api.github.com"
		}
		r.invalid(optionGitHubURL, value, "give https://github.com: without https anyone on the way could read the token")
		return "", ""
	}
	address = u.Scheme + "://" + host
	if strings.HasSuffix(host, ".ghe.com") {
		// GitHub Enterprise Cloud with data residency.
		return address, u.Scheme + "://api." + host
	}
	return address, address + "/api/v3"
}

// group returns the runner group. Only organisations have groups.
func (r *reader) group(scope runner.Scope) string {
	group := r.text(optionGroup)
	if !isLine(group, maxGroup) {
		r.invalid(optionGroup, group, "give the name of a runner group of the organisation, one line of at most 255 characters")
		return ""
	}
	if !scope.IsOrganization() {
		return ""
	}
	return group
}

const maxGroup = 255

// isLine reports whether value is one line of printable text.
func isLine(value string, most int) bool {
	if value == "" || !utf8.ValidString(value) || utf8.RuneCountInString(value) > most {
		return false
	}
	return strings.IndexFunc(value, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

// urlCharacters are those that RFC 3986 allows in a URL. The parser of the
// standard library lets more pass.
var urlCharacters = pattern.UpTo(2048, `^[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+$`)

// parseURL parses an absolute URL with a host and one of the schemes.
func parseURL(value string, schemes ...string) (*url.URL, bool) {
	if !urlCharacters.Matches(value) {
		return nil, false
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || !isPort(u) {
		return nil, false
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return u, true
		}
	}
	return nil, false
}

// quoteURL shows a URL, unless it may hold a password.
func quoteURL(value string) string {
	if strings.Contains(value, "@") {
		return ""
	}
	return quote(value)
}
