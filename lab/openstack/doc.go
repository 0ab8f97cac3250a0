// Package openstack emulates an OpenStack, release Zed, for tests of scale and of
// faults where no real one can run: Keystone, Nova, Neutron and Glance at one
// address, as far as the charm's client and the lab use them.
//
// It answers, and refuses, what the real services do, in their words. What it
// does not emulate it refuses, too, rather than to pass over it. Its clock is the
// time package's alone, so that it runs inside testing/synctest.
package openstack
