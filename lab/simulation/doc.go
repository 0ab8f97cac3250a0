// Package simulation lives through a unit's life in simulated time, with faults
// and kills, and checks what the design promises.
//
// The charm is the real one: its hooks and actions, and the resident agent between
// them, with the real clients for LXD and GitHub. They talk HTTP, over connections in memory, to the lab's
// emulated LXD and its stand-in for GitHub. A life runs in a bubble of
// testing/synctest, so that hours pass in milliseconds; the unit's folder and
// what runners leave are real files.
//
// What happens in a life is decided by its seed: Plan makes a list of events
// from it, which can be printed. What the events meet depends on the scheduler
// of goroutines, too: a seed that fails may have to be repeated.
package simulation
