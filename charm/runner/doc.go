// Package runner is the domain: what a runner is, how a fleet of them is
// observed, and what is done so that the wanted number of free ones is there.
//
// It knows neither Juju nor a cloud's or GitHub's API: it declares what it needs
// of them as Cloud and GitHub.
package runner
