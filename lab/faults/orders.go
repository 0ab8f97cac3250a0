package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"
)

// maxOrder bounds an order and its reply.
const maxOrder = 8 << 20

// restartOrder is the body of POST /restart.
type restartOrder struct {
	Down time.Duration `json:"down"`
}

// Order does what a request asks for; its result is the reply's JSON.
type Order func(r *http.Request) (any, error)

// Orders takes the orders that a real cloud has no words for: those of a Control,
// and more of one cloud's own, by the pattern of their method and path. restart lets
// the cloud be away for a time, and returns when it is back.
func Orders(set *Set, restart func(ctx context.Context, down time.Duration) error, more map[string]Order) http.Handler {
	all := map[string]Order{
		"GET /faults":    func(*http.Request) (any, error) { return set.List(), nil },
		"DELETE /faults": func(r *http.Request) (any, error) { return set.Clear(r.URL.Query().Get("what")), nil },
		"POST /faults": func(r *http.Request) (any, error) {
			var fault Fault
			if err := Decode(r, &fault); err != nil {
				return nil, err
			}
			return set.Add(fault)
		},
		"POST /restart": func(r *http.Request) (any, error) {
			var order restartOrder
			if err := Decode(r, &order); err != nil {
				return nil, err
			}
			return nil, restart(r.Context(), order.Down)
		},
	}
	maps.Copy(all, more)
	mux := http.NewServeMux()
	for pattern, do := range all {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := do(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			// The client is gone when this fails; nobody is left to tell.
			_ = json.NewEncoder(w).Encode(result)
		})
	}
	return mux
}

// Decode reads the body of an order.
func Decode(r *http.Request, into any) error {
	if err := json.NewDecoder(io.LimitReader(r.Body, maxOrder)).Decode(into); err != nil {
		return fmt.Errorf("cannot read the order: %w", err)
	}
	return nil
}
