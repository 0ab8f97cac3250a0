package guests

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github-runner/charm/cloudinit"
	"github-runner/lab/runnerapp"
)

// asker is a machine of which only the way to the policy service matters.
type asker struct {
	Machine
	address string
}

func (a asker) DialPolicy(ctx context.Context, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", a.address)
}

// The emulated guest does what the program in a real one does.
func TestAskAgainWhereTheConnectionBreaks(t *testing.T) {
	for name, test := range map[string]struct {
		answer int
		code   int
		passes bool
	}{
		"then it may run":       {answer: http.StatusNoContent, passes: true},
		"then the answer is no": {answer: http.StatusForbidden, code: http.StatusForbidden},
		"the token is used":     {answer: http.StatusUnauthorized, code: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > 1 {
					w.WriteHeader(test.answer)
					return
				}
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			}))
			defer server.Close()
			r := &Runner{Machine: asker{address: server.Listener.Addr().String()}}
			err := r.askPolicy(t.Context(), cloudinit.Checks{PolicyURL: server.URL, Patience: 60}, runnerapp.Job{Event: "push"}, event{})
			var refused turnedAway
			if errors.As(err, &refused) == test.passes || refused.code != test.code {
				t.Errorf("it answers %+v", err)
			}
			if asked.Load() != 2 {
				t.Errorf("it asked %d times", asked.Load())
			}
		})
	}
}
