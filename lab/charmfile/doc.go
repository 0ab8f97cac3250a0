// Package charmfile packs a .charm file from its parts, the same bytes every
// time, and unpacks one as Juju's agent does.
package charmfile
