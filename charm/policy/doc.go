// Package policy decides whether an event may run a job on the unit's runners,
// and is the service that runners ask before their job: HTTP with bearer tokens,
// on the machine's address on the runners' bridge and on a socket in the unit's
// folder.
//
// Everything fails closed. A job runs only after the service has said so; an error
// is never a pass, a token is good for one request, and what can't be found out
// about a repository counts against it.
package policy
