package lxd

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/gorilla/websocket"
)

const (
	// eventBacklog is how many events a listener may lag behind before it is
	// cut off.
	eventBacklog = 4096
	writeTimeout = 10 * time.Second
)

// hub sends events to all who listen.
type hub struct {
	mu        sync.Mutex
	listeners map[*listener]bool
	// deaf drops events on the floor.
	deaf func() bool
}

type listener struct {
	types  []string
	events chan []byte
}

func newHub(deaf func() bool) *hub {
	return &hub{listeners: make(map[*listener]bool), deaf: deaf}
}

func (h *hub) operation(op api.Operation) {
	h.send("operation", op)
}

// lifecycle tells that something happened to what lies at a path of the API.
// asked is set when a client asked for it; a guest that powers off did not.
func (h *hub) lifecycle(action, path string, context map[string]any, asked bool) {
	metadata := map[string]any{"action": action, "source": "/1.0/" + path}
	if len(context) > 0 {
		metadata["context"] = context
	}
	if asked {
		metadata["requestor"] = map[string]string{"address": "@", "protocol": "unix", "username": "root"}
	}
	h.send("lifecycle", metadata)
}

func (h *hub) send(kind string, metadata any) {
	if h.deaf() {
		return
	}
	encoded, err := json.Marshal(map[string]any{
		"type": kind, "timestamp": time.Now().UTC(), "metadata": metadata, "location": "none", "project": "default",
	})
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if !slices.Contains(l.types, kind) {
			continue
		}
		select {
		case l.events <- encoded:
		default:
			h.drop(l)
		}
	}
}

// drop ends a listener; h.mu is held.
func (h *hub) drop(l *listener) {
	if h.listeners[l] {
		delete(h.listeners, l)
		close(l.events)
	}
}

// cut ends all listeners.
func (h *hub) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		h.drop(l)
	}
}

func (h *hub) remove(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(l)
}

var eventTypes = []string{"logging", "operation", "lifecycle"}

func (s *Server) getEvents(r *http.Request) (answer, error) {
	types := eventTypes
	if asked := r.URL.Query().Get("type"); asked != "" {
		types = strings.Split(asked, ",")
	}
	for _, kind := range types {
		if !slices.Contains(eventTypes, kind) {
			return answer{}, refuse(http.StatusInternalServerError, "%q isn't a supported event type", kind)
		}
	}
	return answer{serve: func(w http.ResponseWriter) { s.events.serve(w, r, types) }}, nil
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request, types []string) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	l := &listener{types: types, events: make(chan []byte, eventBacklog)}
	// Before the upgrade is answered: what happens after it must not be missed.
	h.mu.Lock()
	h.listeners[l] = true
	h.mu.Unlock()
	defer h.remove(l)
	w.Header().Del("Content-Type")
	connection, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer connection.Close()
	go func() {
		defer h.remove(l)
		for {
			if _, _, err := connection.ReadMessage(); err != nil {
				return
			}
		}
	}()
	for event := range l.events {
		_ = connection.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := connection.WriteMessage(websocket.TextMessage, event); err != nil {
			return
		}
	}
}
