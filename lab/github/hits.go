package github

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// hits are the faults that one call meets.
type hits []fault

func (s *Server) hit(c *apiCall) hits {
	s.mu.Lock()
	defer s.mu.Unlock()
	var met hits
	for _, f := range s.faults {
		if f.over(c.now) || !f.meets(c) {
			continue
		}
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		if !isOfRunners(f.Kind) {
			f.Hits++
		}
		met = append(met, *f)
	}
	return met
}

// isOfRunners tells the kinds that change what runners look like.
func isOfRunners(kind string) bool {
	return kind == FaultLag || kind == FaultLateDelete || kind == FaultLinger
}

func (h hits) find(kinds ...string) (fault, bool) {
	for _, f := range h {
		if slices.Contains(kinds, f.Kind) {
			return f, true
		}
	}
	return fault{}, false
}

// before is what happens before the call takes effect; false when it does not.
func (h hits) before(ctx context.Context, s *Server) bool {
	if _, ok := h.find(FaultDown); ok {
		return false
	}
	if f, ok := h.find(FaultDelay); ok {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	if _, ok := h.find(FaultKillBefore); ok {
		s.killHook(ctx)
		return false
	}
	return true
}

// after is what happens before the answer is sent; false when it is not.
func (h hits) after(ctx context.Context, s *Server) bool {
	if _, ok := h.find(FaultKillAfter); ok {
		s.killHook(ctx)
		return false
	}
	_, lost := h.find(FaultLost)
	return !lost
}

func (h hits) revoked() bool {
	_, ok := h.find(FaultRevoked)
	return ok
}

// answer is what takes the place of the call.
func (h hits) answer() (reply, bool) {
	if f, ok := h.find(FaultStatus); ok {
		message := f.Message
		if message == "" {
			message = http.StatusText(f.Status)
		}
		return problem(f.Status, "%s", message), true
	}
	if f, ok := h.find(FaultBody); ok {
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		return reply{status: status, body: raw(f.Body)}, true
	}
	return reply{}, false
}

func (h hits) limited(c *apiCall, limit int) (reply, bool) {
	if f, ok := h.find(FaultPrimary); ok {
		reset := c.now.Add(time.Minute)
		if f.For > 0 {
			reset = f.added.Add(f.For)
		}
		return primaryLimit(limit, reset), true
	}
	f, ok := h.find(FaultSecondary)
	if !ok {
		return reply{}, false
	}
	status := f.Status
	if status == 0 {
		status = http.StatusForbidden
	}
	refused := problem(status, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	refused.header = http.Header{}
	if f.RetryAfter > 0 {
		refused.header.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	return refused, true
}

// delayOf returns the delay of a fault that is in force. The lock is held.
func (s *Server) delayOf(kind string) time.Duration {
	for _, f := range s.faults {
		if f.Kind == kind && !f.over(time.Now()) {
			return f.Delay
		}
	}
	return 0
}

// lag is for how long a runner that took a job still looks idle. The lock is
// held.
func (s *Server) lag() time.Duration { return s.delayOf(FaultLag) }

// lateDelete reports whether a runner may be deleted in spite of its job. The
// lock is held.
func (s *Server) lateDelete(r *registered, now time.Time) bool {
	within := s.delayOf(FaultLateDelete)
	return within > 0 && now.Before(r.given.Add(within))
}

// lostAfter is how long GitHub waits for a runner that went offline with a job.
// The lock is held.
func (s *Server) lostAfter() time.Duration {
	return max(s.options.LostAfter, s.delayOf(FaultLinger))
}

// killHook asks the lab's Juju to kill the hook that is running.
func (s *Server) killHook(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.options.JujuSocket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://juju/kill-hook", nil)
	if err != nil {
		s.log.WithError(err).Error("cannot kill the hook")
		return
	}
	response, err := client.Do(request)
	if err != nil {
		s.log.WithError(err).Error("cannot kill the hook")
		return
	}
	_ = response.Body.Close()
}
