// Package services are the unit's own services, which work between Juju's hooks.
// A Pebble daemon of the unit's own supervises them: it starts them, asks for
// their health, starts them again when they end, and keeps what they said last.
//
// What is to run is said by a Want. What runs is never remembered but looked up:
// the daemon and the services are the processes whose program, arguments and
// environment are this unit's, so that two units of a machine do not touch each
// other's, and nothing is mistaken for ours because it got a number that was.
package services
