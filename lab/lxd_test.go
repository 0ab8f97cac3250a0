package lab

import (
	"context"
	"testing"

	emulated "github-runner/lab/lxd"
)

// A hook that was ended leaves creations behind which LXD gives up by itself, in
// the middle of the lab's end.
func TestRemoveInstanceThatGoesByItself(t *testing.T) {
	server, err := emulated.New(emulated.Options{Dir: t.TempDir(), Timing: emulated.Quick()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- server.Serve(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-ready
	client, err := connectLXD(t.Context(), server.Socket())
	if err != nil {
		t.Fatal(err)
	}
	if err := removeInstance(t.Context(), client, "gone-meanwhile"); err != nil {
		t.Errorf("got error %v for an instance that is not there any more, want none", err)
	}
}
