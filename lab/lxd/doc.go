// Package lxd emulates an LXD daemon, version 5.0.2, for tests of scale and of
// faults where no real one can run: its REST API on a unix socket, as far as
// the charm's client and the lab use it.
//
// It answers, and refuses, what the real daemon does; a test compares the two.
// Its guests are simulated from their user-data, not executed: a guest that
// finds a JIT configuration in it behaves as the charm's in-guest service and
// the runner application do.
package lxd
