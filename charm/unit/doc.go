// Package unit is what hooks, actions and the resident agent share: the hold on
// the unit, which is its lock and all that it remembers, and the fleet that one
// state of the charm works with. Whoever holds the unit goes on where the last
// holder ended.
package unit
