package github

import (
	"net/http"
	"strconv"
	"time"
)

// Budget is what GitHub said last of the rate limit that calls count against, by
// its headers X-RateLimit-….
type Budget struct {
	// Limit is how many calls there are in an hour, Remaining how many are left
	// until Reset.
	Limit, Remaining int
	Reset            time.Time
}

// Budget returns what GitHub said last; zero while it has said nothing.
func (c *Client) Budget() Budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget
}

// noteBudget reads an answer's headers. An enterprise server without a limit sends
// none.
func (c *Client) noteBudget(header http.Header) {
	limit, err := strconv.Atoi(header.Get("X-RateLimit-Limit"))
	if err != nil {
		return
	}
	remaining, err := strconv.Atoi(header.Get("X-RateLimit-Remaining"))
	if err != nil {
		return
	}
	reset, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = Budget{Limit: limit, Remaining: remaining, Reset: time.Unix(reset, 0).UTC()}
}
