package github

import (
	"net/http"
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	c := New(Options{})
	header := func(limit, remaining, reset string) http.Header {
		h := http.Header{}
		h.Set("X-RateLimit-Limit", limit)
		h.Set("X-RateLimit-Remaining", remaining)
		h.Set("X-RateLimit-Reset", reset)
		return h
	}
	if c.Budget() != (Budget{}) {
		t.Errorf("before any answer: %+v", c.Budget())
	}
	c.noteBudget(header("5000", "4999", "1796083200"))
	want := Budget{Limit: 5000, Remaining: 4999, Reset: time.Unix(1796083200, 0).UTC()}
	if got := c.Budget(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []http.Header{{}, header("many", "1", "1"), header("1", "", "1"), header("1", "1", "soon")} {
		c.noteBudget(bad)
		if got := c.Budget(); got != want {
			t.Errorf("%v is taken for %+v", bad, got)
		}
	}
}
