package bench

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestOpenStackCalls tests what is counted as what: a look-up that is counted as
// something else would keep a target that is missed.
func TestOpenStackCalls(t *testing.T) {
	cloud := &openStack{}
	answered := 0
	api := cloud.count(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered++ }))
	call := func(method, target string) {
		api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, target, nil))
	}
	for method, targets := range map[string][]string{
		http.MethodGet: {
			"/compute/v2.1/", "/compute/v2.1/servers/detail?name=a", "/compute/v2.1/servers/detail?marker=1", "/compute/v2.1/flavors/detail",
			"/image/v2/images?name=noble", "/network/v2.0/networks?name=lab", "/network/v2.0/security-groups", "/compute/v2.1/servers/1",
		},
		http.MethodPost:   {"/identity/v3/auth/tokens", "/network/v2.0/security-groups"},
		http.MethodDelete: {"/compute/v2.1/servers/1"},
	} {
		for _, target := range targets {
			call(method, target)
		}
	}
	want := openStackCalls{All: 11, Tokens: 1, Pages: 2, LookUps: 4}
	if diff := cmp.Diff(want, cloud.counted()); diff != "" || answered != want.All {
		t.Errorf("%d answers; calls (-want +got):\n%s", answered, diff)
	}
	if !cloud.lastOrder().IsZero() {
		t.Error("a server was ordered by none of these")
	}
	before := time.Now()
	call(http.MethodPost, "/compute/v2.1/servers")
	if last := cloud.lastOrder(); last.Before(before) {
		t.Errorf("a server was ordered at %v, not after %v", last, before)
	}
	cloud.reset()
	if got := cloud.counted(); got != (openStackCalls{}) || !cloud.lastOrder().IsZero() {
		t.Errorf("after a reset: %v, %v", got, cloud.lastOrder())
	}
}

// TestOpenStackKnocks tests that a connection to the servers is counted, and one to
// anything else is not.
func TestOpenStackKnocks(t *testing.T) {
	cloud := &openStack{}
	guests, control := filepath.Join(t.TempDir(), "guests"), filepath.Join(t.TempDir(), "control")
	open := cloud.open(guests)
	for _, socket := range []string{control, guests} {
		listener, err := open("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", socket, err)
		}
	}
	if got := cloud.counted().SSH; got != 1 {
		t.Errorf("%d connections to servers, want 1", got)
	}
}
