package clouds

import "github-runner/charm/secret"

// Interface is which of a service's addresses are used.
type Interface string

// The interfaces of a service.
const (
	Public   Interface = "public"
	Internal Interface = "internal"
	Admin    Interface = "admin"
)

// Cloud is what a clouds.yaml says of one cloud: where it is, and how to log in,
// by a password or by an application credential.
type Cloud struct {
	// AuthURL is where Keystone is, with or without /v3 at its end.
	AuthURL string
	// Region is the region to use; "": the first that there is.
	Region    string
	Interface Interface
	// CACert are the certificates, in PEM, that the cloud's are signed by, and
	// CACertFile the absolute path of a file with them. Without both they are those
	// of the machine.
	CACert     string
	CACertFile string
	// Insecure is set where the cloud's certificates are not to be verified.
	Insecure bool

	// User logs in by Password for Project, or by Credential, which has its project
	// with it.
	User     Identity
	Password secret.Text
	Project  Identity
	// Credential is an application credential; the zero value is none.
	Credential Credential
}

// Identity names a user or a project, by ID or by name in a domain.
type Identity struct {
	ID     string
	Name   string
	Domain Domain
}

// Domain names a domain, by ID or by name.
type Domain struct {
	ID   string
	Name string
}

// Credential is an application credential, by ID or by the name that its user gave
// it.
type Credential struct {
	ID     string
	Name   string
	Secret secret.Text
}

// IsZero reports whether there is none.
func (c Credential) IsZero() bool {
	return c == Credential{}
}

// Fault is the error of a clouds.yaml that can't be used. It holds nothing of the
// document.
type Fault struct {
	// What is wrong, such as "has no cloud".
	What string
	// Right is what would be right.
	Right string
}

// Error is one line: what is wrong, and what would be right.
func (f Fault) Error() string {
	return f.What + ": " + f.Right
}
