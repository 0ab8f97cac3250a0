//go:build !race

package simulation

const (
	usualSeeds = 150
	oneIn      = 1
)
