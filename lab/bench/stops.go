package bench

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
)

// stops knows when LXD told of instances that they had stopped.
type stops struct {
	mu sync.Mutex
	at map[string]time.Time
}

// watchStops listens to LXD's events until the connection to it ends.
func watchStops(server client.InstanceServer) (*stops, error) {
	listener, err := server.GetEvents()
	if err != nil {
		return nil, fmt.Errorf("cannot listen to LXD's events: %w", err)
	}
	s := &stops{at: map[string]time.Time{}}
	_, err = listener.AddHandler([]string{api.EventTypeLifecycle}, s.note)
	return s, err
}

func (s *stops) note(event api.Event) {
	var lifecycle api.EventLifecycle
	if json.Unmarshal(event.Metadata, &lifecycle) != nil {
		return
	}
	name, ok := strings.CutPrefix(lifecycle.Source, "/1.0/instances/")
	if !ok || lifecycle.Action != api.EventLifecycleInstanceShutdown && lifecycle.Action != api.EventLifecycleInstanceStopped {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[name].IsZero() {
		s.at[name] = time.Now()
	}
}

// of is when an instance was first said to have stopped; now where it was not:
// it was removed before it had.
func (s *stops) of(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.at[name]; ok {
		return at
	}
	return time.Now()
}
