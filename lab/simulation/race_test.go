//go:build race

package simulation

// The race detector makes a life take ten times as long: few are lived through
// with it, and one moment in so many is tried.
const (
	usualSeeds = 4
	oneIn      = 48
)
