package restartable

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// call asks a daemon at a socket once.
func call(t *testing.T, socket string) (string, error) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	response, err := client.Get("http://daemon/")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestRestart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "daemon.sock")
	d := New()
	starts, ends := 0, 0
	life := Life{
		Open: func() (net.Listener, error) {
			starts++
			return Listen("unix", socket)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }),
		End:     func() { ends++ },
	}
	ctx, end := context.WithCancel(t.Context())
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- d.Serve(ctx, life, func() { close(ready) }) }()
	<-ready
	for range 2 {
		if said, err := call(t, socket); err != nil || said != "here" {
			t.Fatalf("it answers %q, %v", said, err)
		}
		if err := d.Restart(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if starts != 3 || ends != 3 {
		t.Errorf("it was started %d times and ended %d times, want 3 and 3", starts, ends)
	}
	if said, err := call(t, socket); err == nil {
		t.Errorf("after its end it answers %q", said)
	}
	if err := d.Restart(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Restart after the end: %v", err)
	}
}

func TestServeSaysThatItCannotListen(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "missing", "daemon.sock")
	life := Life{Open: func() (net.Listener, error) { return Listen("unix", socket) }}
	if err := New().Serve(t.Context(), life, func() { t.Error("it is ready") }); err == nil {
		t.Error("Serve without a listener returns nil")
	}
}

func TestListenTakesThePlaceOfALeftSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "daemon.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	listener, err := Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}
