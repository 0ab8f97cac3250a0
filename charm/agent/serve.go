package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github-runner/charm/unit"
)

const (
	// longestWish is how long somebody may want the unit without taking it:
	// longer than any hook waits for the lock.
	longestWish = 10 * time.Minute
	// longestTurn is how long a turn may take before the agent calls itself ill: it
	// begins steps for five minutes, and each ends within ten.
	longestTurn = 20 * time.Minute
	// farewell is how long answers may take when the agent ends.
	farewell = time.Second
)

// What the agent says that it does while it works, and while it does not.
const (
	atWork  = "at work"
	waiting = "waiting for a reason"
)

// serve answers at the unit's socket until ctx ends; then the channel tells how
// that went.
func (a *agent) serve(ctx context.Context) (<-chan error, error) {
	listener, err := a.Dir.Listen(unit.AgentSocket)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", a.answerHealth)
	mux.HandleFunc("GET /status", a.answerStatus)
	mux.HandleFunc("POST "+unit.YieldPath, a.answerYield)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 4 << 10}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if err := server.Shutdown(leaving); err != nil {
			server.Close() // those who wait for the unit
		}
	}()
	go func() {
		err := server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		stopped <- err
	}()
	return stopped, nil
}

func (a *agent) answerStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a.board.read()); err != nil {
		a.Log.WithError(err).Debug("a status could not be told")
	}
}

// answerHealth says whether the agent goes on. That nothing can be done, because
// GitHub is away for instance, is no illness: another agent could do no more.
func (a *agent) answerHealth(w http.ResponseWriter, _ *http.Request) {
	status := a.board.read()
	if length := time.Since(status.Since); status.Doing == atWork && length > longestTurn {
		http.Error(w, fmt.Sprintf("the agent has been at one piece of work for %s", length.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// answerYield gives way until the other side hangs up.
func (a *agent) answerYield(w http.ResponseWriter, r *http.Request) {
	defer a.gate.enter()()
	timer := time.NewTimer(longestWish)
	defer timer.Stop()
	select {
	case <-r.Context().Done():
	case <-timer.C:
		a.Log.Warn("somebody has wanted the unit for too long: the agent goes on")
	}
	w.WriteHeader(http.StatusNoContent)
}
