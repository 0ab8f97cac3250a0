// Package state turns what Juju's hook tools answer into one value that the
// rest of the charm works from, or into the list of all that is wrong with it.
//
// It is pure: no file, no clock, no process, no network.
package state
