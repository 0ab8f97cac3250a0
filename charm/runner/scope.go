package runner

import "strings"

// Scope is where runners register: a repository or an organisation of one
// GitHub server.
type Scope struct {
	// API is the base URL of the REST API without a slash at its end, such as
	// https://api.github.com or https://github.example.com/api/v3.
	API string `json:"api"`
	// Path is "owner/repository" or "organisation".
	Path string `json:"path"`
}

// IsOrganization reports whether the scope is a whole organisation.
func (s Scope) IsOrganization() bool {
	return !strings.Contains(s.Path, "/")
}

// IsZero reports whether the scope is unset.
func (s Scope) IsZero() bool {
	return s == Scope{}
}

// String returns the path, followed by the server where it is not github.com.
func (s Scope) String() string {
	if s.API == "https://api.github.com" {
		return s.Path
	}
	return s.Path + " at " + s.API
}
