package policy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// serving is a service that answers in a folder and at addresses.
type serving struct {
	testService
	addresses chan netip.Addr
	port      uint16
	ended     chan error
	stop      context.CancelFunc
}

func serve(t *testing.T, s testService, port uint16) serving {
	t.Helper()
	socket, err := s.unit.Listen(Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	running := serving{s, make(chan netip.Addr), port, make(chan error, 1), stop}
	go func() {
		running.ended <- s.Serve(ctx, Where{Socket: socket, Addresses: running.addresses, Port: port})
	}()
	t.Cleanup(stop)
	return running
}

// freePort is one that nobody has on any loopback address just now.
func freePort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String()).Port()
}

// healthy asks until the service answers at an address, or no longer.
func (s serving) healthy(t *testing.T, address string, wanted bool) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	for range 200 {
		response, err := client.Get("http://" + netip.AddrPortFrom(netip.MustParseAddr(address), s.port).String() + "/health")
		if err == nil {
			response.Body.Close()
		}
		if (err == nil) == wanted {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("answers at %s: %v", address, !wanted)
}

func TestServeFollowsTheBridge(t *testing.T) {
	s := serve(t, newService(t, compliant()), freePort(t))
	conn, err := s.unit.Dial(t.Context(), Socket)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /health HTTP/1.0\r\n\r\n")
	if said, err := io.ReadAll(conn); err != nil || !strings.Contains(string(said), "204 No Content") {
		t.Errorf("on the socket: %q, %v", said, err)
	}
	conn.Close()
	s.addresses <- netip.Addr{}
	s.addresses <- netip.MustParseAddr("127.0.0.2")
	s.healthy(t, "127.0.0.2", true)
	s.healthy(t, "127.0.0.1", false)
	s.addresses <- netip.MustParseAddr("127.0.0.3")
	s.healthy(t, "127.0.0.3", true)
	s.healthy(t, "127.0.0.2", false)
	s.addresses <- netip.Addr{}
	s.healthy(t, "127.0.0.3", false)
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
	if _, err := s.unit.Dial(t.Context(), Socket); err == nil {
		t.Error("it answers after its end")
	}
}

func TestServeWaitsForAPortThatIsTaken(t *testing.T) {
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, newService(t, compliant()), netip.MustParseAddrPort(other.Addr().String()).Port())
	s.addresses <- netip.MustParseAddr("127.0.0.1")
	s.addresses <- netip.MustParseAddr("127.0.0.1") // taken in once the first one was tried
	other.Close()
	s.healthy(t, "127.0.0.1", true)
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}

func TestOneAddressHasAFewConnections(t *testing.T) {
	plain, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := perAddress(plain)
	defer listener.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp4", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var first net.Conn
	for i := range maxConns {
		defer dial().Close()
		conn := <-accepted
		defer conn.Close()
		if i == 0 {
			first = conn
		}
	}
	tooMany := dial()
	defer tooMany.Close()
	if said, err := io.ReadAll(tooMany); len(said) > 0 || err != nil {
		t.Errorf("one too many: %q, %v", said, err)
	}
	first.Close()
	first.Close()
	defer dial().Close()
	defer (<-accepted).Close()
	if again := dial(); true {
		defer again.Close()
		if said, err := io.ReadAll(again); len(said) > 0 || err != nil {
			t.Errorf("after one was closed twice, two come in: %q, %v", said, err)
		}
	}
}
