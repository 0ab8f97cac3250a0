package unit

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/unitdir"
)

// An agent that begins to run while a hook waits for the unit hears of it, and so does
// the one after it.
func TestTakeAsksAnAgentThatComesLater(t *testing.T) {
	dir, err := unitdir.Open(t.TempDir(), "github-runner-0-8b7a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unlock, err := dir.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	taken := make(chan error, 1)
	go func() {
		hold, err := Take(ctx, dir, logrus.NewEntry(silent))
		if err == nil {
			hold.Release()
		}
		taken <- err
	}()
	for _, agent := range []string{"the first", "the next"} {
		listener, err := dir.Listen(AgentSocket)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		request, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(request, "POST "+YieldPath) {
			t.Errorf("%s agent is asked %q: %v", agent, request, err)
		}
		if agent == "the first" {
			conn.Close()
			listener.Close()
			continue
		}
		unlock()
		if err := <-taken; err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("who has the unit does not hang up: %v", err)
		}
		conn.Close()
		listener.Close()
	}
}
