// Package clouds reads a clouds.yaml: how to log in to an OpenStack, as OpenStack's
// own clients keep it. It only reads: no file, no network.
//
// The document is a secret as a whole. No error has a part of it.
package clouds
