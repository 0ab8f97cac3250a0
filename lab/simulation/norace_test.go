//go:build !race

package simulation

const (
	usualSeeds = 100
	oneIn      = 1
)
