// Package agent is the resident process of a unit: between Juju's hooks it waits
// for a reason, an event of the cloud's above all, and makes the runners be as
// wanted, at once.
//
// It knows nothing that the unit's state does not say, gives way to every hook
// and action, and may be killed at any time.
package agent
