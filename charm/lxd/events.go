package lxd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// events reports, coalesced, that something happened to a thing that is wanted: to
// "instances" and a name, or to "images" and a fingerprint. The channel is closed when
// ctx ends or the daemon hangs up.
//
// It is an event connection of its own, and not the client's shared one, which
// stays open for a minute after its last use.
func (c *Cloud) events(ctx context.Context, wanted func(kind, name string) bool) (<-chan struct{}, error) {
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
			if kind, name := subjectOf(message); wanted(kind, name) {
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

// isInstance is what is wanted of the events of one instance.
func isInstance(wanted string) func(kind, name string) bool {
	return func(kind, name string) bool { return kind == instanceEvents && name == wanted }
}

// The kinds of things that events are about.
const (
	instanceEvents = "instances"
	imageEvents    = "images"
)

// subjectOf returns the kind of thing that a lifecycle event is about, and its name;
// "" where it is about none.
func subjectOf(message []byte) (kind, name string) {
	var event api.Event
	var lifecycle api.EventLifecycle
	if json.Unmarshal(message, &event) != nil || event.Type != api.EventTypeLifecycle {
		return "", ""
	}
	if json.Unmarshal(event.Metadata, &lifecycle) != nil {
		return "", ""
	}
	source, _, _ := strings.Cut(lifecycle.Source, "?")
	rest, ok := strings.CutPrefix(source, "/1.0/")
	if !ok {
		return "", ""
	}
	kind, name, _ = strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, "/")
	return kind, name
}
