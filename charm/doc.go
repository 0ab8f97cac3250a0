// Package charm is what the charm does when Juju calls it: one handler for
// each hook and action, and the words that the unit's status and the actions'
// results are made of.
//
// It knows neither clouds nor GitHub's API: it is given what it works with.
package charm
