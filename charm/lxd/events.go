package lxd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// events reports, coalesced, that something happened to an instance whose name
// is wanted. The channel is closed when ctx ends or the daemon hangs up.
//
// It is an event connection of its own, and not the client's shared one, which
// stays open for a minute after its last use.
func (c *Cloud) events(ctx context.Context, wanted func(name string) bool) (<-chan struct{}, error) {
	// The connection ends with ctx.
	server, err := c.bind(ctx)
	if err != nil {
		return nil, err
	}
	connection, err := server.RawWebsocket("/events?type=lifecycle")
	if err != nil {
		return nil, fmt.Errorf("cannot watch LXD's events: %w", classify(err))
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		defer connection.Close()
		for {
			_, message, err := connection.ReadMessage()
			if err != nil {
				return
			}
			if name, ok := instanceOf(message); ok && wanted(name) {
				notify(changed)
			}
		}
	}()
	return changed, nil
}

// notify sends without waiting: one pending message says it all.
func notify(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

// instanceOf returns the instance that a lifecycle event is about.
func instanceOf(message []byte) (string, bool) {
	var event api.Event
	var lifecycle api.EventLifecycle
	if json.Unmarshal(message, &event) != nil || event.Type != api.EventTypeLifecycle {
		return "", false
	}
	if json.Unmarshal(event.Metadata, &lifecycle) != nil {
		return "", false
	}
	source, _, _ := strings.Cut(lifecycle.Source, "?")
	rest, ok := strings.CutPrefix(source, "/1.0/instances/")
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(rest, "/")
	return name, true
}
