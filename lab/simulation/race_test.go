//go:build race

package simulation

// usualSeeds are few: the race detector makes a life take ten times as long.
const usualSeeds = 20
