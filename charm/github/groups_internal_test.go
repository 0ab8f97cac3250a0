package github

import (
	"context"
	"errors"
	"testing"

	"github-runner/charm/runner"
)

// Who waits for another's question about groups can be called off.
func TestGroupWaitsNoLongerThanItsContext(t *testing.T) {
	client := &Client{asking: make(chan struct{}, 1)}
	client.asking <- struct{}{} // somebody asks
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.group(ctx, runner.Scope{API: "https://api.github.com", Path: "acme"}, "fast ones")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("who waits has %v", err)
	}
}
