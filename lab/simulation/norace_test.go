//go:build !race

package simulation

const (
	usualSeeds = 200
	oneIn      = 1
)
