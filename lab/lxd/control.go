package lxd

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// The control socket takes the lab's own orders, which a real daemon has no
// words for.

// RestartOrder is the body of POST /restart.
type RestartOrder struct {
	Down time.Duration `json:"down"`
}

// control answers on the control socket.
func (s *Server) control() http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(r *http.Request) (any, error){
		"GET /faults":    func(*http.Request) (any, error) { return s.faults.list(), nil },
		"POST /faults":   s.orderFault,
		"DELETE /faults": s.orderClear,
		"POST /restart":  s.orderRestart,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := do(r)
			var refused refusal
			switch {
			case errors.As(err, &refused):
				http.Error(w, err.Error(), refused.status)
			case err != nil:
				http.Error(w, err.Error(), http.StatusBadRequest)
			default:
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(result)
			}
		})
	}
	return mux
}

func (s *Server) orderFault(r *http.Request) (any, error) {
	var fault Fault
	if err := decode(r, &fault); err != nil {
		return nil, err
	}
	return s.faults.add(fault)
}

func (s *Server) orderClear(r *http.Request) (any, error) {
	return s.faults.clear(r.URL.Query().Get("what")), nil
}

func (s *Server) orderRestart(r *http.Request) (any, error) {
	var order RestartOrder
	if err := decode(r, &order); err != nil {
		return nil, err
	}
	return nil, s.Restart(r.Context(), order.Down)
}
