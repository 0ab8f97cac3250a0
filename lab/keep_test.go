package lab

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// LXD 5.0.2 crashes by itself now and then; a machine's systemd starts it again.
func TestKeepStartsAgainWhatFailed(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	var log bytes.Buffer
	script := `echo start >>"$1"; [ "$(grep -c start "$1")" -ge 3 ] || exit 2`
	if err := keep(t.Context(), &log, "sh", "-c", script, "sh", starts); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(starts)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(got), "start"); n != 3 {
		t.Errorf("got %d starts, want 3: two that failed, and one that ended well", n)
	}
	if want := "sh failed (exit status 2) and is started again"; !strings.Contains(log.String(), want) {
		t.Errorf("got log %q, want it to hold %q", log.String(), want)
	}
}

func TestKeepGivesUp(t *testing.T) {
	for _, test := range []struct {
		name string
		argv []string
		want string
	}{
		{"it always fails", []string{"sh", "-c", "exit 3"}, "it failed 5 times within 10s, the last time with: exit status 3"},
		{"there is none", []string{filepath.Join(t.TempDir(), "none")}, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := keep(t.Context(), &bytes.Buffer{}, test.argv...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestKeepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	// A shell hears a signal while it waits. What it waits for may outlive it, as a
	// process that was just forked can take the signal for its parent's, so that it ends
	// by itself and costs nothing.
	const daemon = `trap 'kill $!; echo ended; exit 1' TERM; while :; do sleep 5 & echo ready; wait; done`
	ended := make(chan error, 1)
	go func() {
		defer says.Close()
		ended <- keep(ctx, says, "sh", "-c", daemon)
	}()
	if _, err := ready.Read(make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got error %v at the end of the context, want none", err)
	}
	rest := make([]byte, 64)
	n, err := ready.Read(rest)
	if got := string(rest[:n]); err != nil || got != "ended\n" {
		t.Errorf("the daemon said %q (error %v), want that it was asked to end", got, err)
	}
}
