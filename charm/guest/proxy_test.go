package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github-runner/charm/cloudinit"
)

// proxyTo makes this test's program a proxy command.
const proxyTo = "GUEST_TEST_PROXY_TO"

func TestMain(m *testing.M) {
	if address := os.Getenv(proxyTo); address != "" {
		os.Exit(beProxy(address))
	}
	os.Exit(m.Run())
}

// beProxy joins standard input and output to a TCP address, and says its arguments.
func beProxy(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "proxy for %q\n", os.Args[1:])
	go func() { _, _ = io.Copy(conn, os.Stdin) }()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// program is this test's, quoted for a shell.
func program(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := cloudinit.Shell(path)
	if err != nil {
		t.Fatal(err)
	}
	return quoted
}

func TestProxyCommand(t *testing.T) {
	s := newStage(t)
	address := s.listen(t)
	s.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("not by the proxy command")
	}
	s.ProxyCommand = proxyTo + "=" + address + " " + program(t) + " -%h -%p -%r -%% -%n"
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "content")
	got, err := s.Read(t.Context(), s.name, somewhere, []File{{Path: path, Max: 100}})
	if err != nil || string(got[path]) != "content" {
		t.Fatalf("read %q, %v", got, err)
	}
	if err := s.Await(t.Context(), s.name, netip.MustParseAddr("2001:db8::1"), path); err != nil {
		t.Fatal(err)
	}
	// What the command said is told with what went wrong behind it.
	s.name = "runner-2"
	_, err = s.Read(t.Context(), s.name, netip.MustParseAddr("2001:db8::1"), nil)
	if want := `another machine has its address, or a job has changed it; manager-ssh-proxy-command says: proxy for ["-2001:db8::1" "-22" "-ubuntu" "-%" "-2001:db8::1"]`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %s", err, want)
	}
}

func TestProxyCommandsThatFail(t *testing.T) {
	for name, test := range map[string]struct{ command, want string }{
		"says why":   {"echo no route to %h >&2; exit 3", "ended with exit status 3; manager-ssh-proxy-command says: no route to 192.0.2.7"},
		"not there":  {"/nonexistent/proxy %h", "ended with exit status 127"},
		"says much":  {"yes complaint | head -c 100000 >&2; printf '\\033[2J' >&2; exit 1", "complaint complaint [2J"},
		"ends well":  {"true", "by manager-ssh-proxy-command failed"},
		"no SSH":     {"echo hello", "by manager-ssh-proxy-command failed"},
		"bad escape": {"nc %h %x", `it has "%x"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.ProxyCommand = test.command
			_, err := s.Read(t.Context(), s.name, somewhere, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "manager-ssh-proxy-command") {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if err != nil && (len(err.Error()) > 1<<10 || strings.Contains(err.Error(), "\x1b")) {
				t.Errorf("the error is %q", err)
			}
		})
	}
}

// Nothing that a proxy command starts outlives the connection.
func TestProxyCommandIsEnded(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	s.ProxyCommand = "exec 3>" + pipe + "; sleep 600 & echo started >&3; sleep 600"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		// The pipe ends with the last process that has it.
		ended <- func() error {
			started, err := os.Open(pipe)
			if err != nil {
				return err
			}
			defer started.Close()
			if _, err := io.ReadFull(started, make([]byte, len("started\n"))); err != nil {
				return err
			}
			cancel()
			_, err = io.ReadAll(started)
			return err
		}()
	}()
	if _, err := s.Read(ctx, s.name, somewhere, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("what the command started lives on")
	}
}

func TestCheckProxyCommand(t *testing.T) {
	for command, want := range map[string]string{
		"ssh -W %h:%p jump": "", "nc 100%% %h": "", "": "",
		"nc %h 5%": "at its end", "nc %H": `it has "%H"`, "a\x00b": "NUL",
	} {
		if err := CheckProxyCommand(command); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckProxyCommand(%q) = %v, want %q", command, err, want)
		}
	}
}
