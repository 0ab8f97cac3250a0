package unitdir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// openDeep opens a unit's folder whose path is far longer than the address of a
// socket.
func openDeep(t *testing.T) *Dir {
	t.Helper()
	root := t.TempDir()
	for range 4 {
		root = filepath.Join(root, strings.Repeat("deep", 15))
	}
	dir, err := Open(root, "github-runner-0-ab12")
	must(t, err)
	return dir
}

func TestAnAnswerComesThroughASocketWithALongPath(t *testing.T) {
	dir := openDeep(t)
	must(t, os.Mkdir(dir.Path("below"), 0o700))
	for _, name := range []string{"agent.sock", "below/agent.sock"} {
		listener, err := dir.Listen(name)
		must(t, err)
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				io.WriteString(conn, "here")
				conn.Close()
			}
		}()
		conn, err := dir.Dial(t.Context(), name)
		must(t, err)
		answer, err := io.ReadAll(conn)
		must(t, err)
		must(t, conn.Close())
		if string(answer) != "here" {
			t.Errorf("%s answers %q", name, answer)
		}
		if got := listener.Addr().String(); got != dir.Path(name) {
			t.Errorf("the address is %s, want %s", got, dir.Path(name))
		}
		info, err := os.Lstat(dir.Path(name))
		must(t, err)
		if info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		must(t, listener.Close())
		if _, err := os.Lstat(dir.Path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a closed listener leaves its socket: %v", err)
		}
	}
}

func TestListenReplacesWhatADeadProcessLeft(t *testing.T) {
	dir := openDeep(t)
	first, err := dir.Listen("agent.sock")
	must(t, err)
	if _, err := dir.Listen("agent.sock"); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Fatalf("a second Listen: %v", err)
	}
	// As a process that is killed: its socket stays.
	must(t, first.(*socket).UnixListener.Close())
	if _, err := dir.Dial(t.Context(), "agent.sock"); !errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "/proc/") {
		t.Errorf("Dial without a listener: %v", err)
	}
	second, err := dir.Listen("agent.sock")
	must(t, err)
	defer second.Close()
	// The dead one's late end takes nothing away.
	first.Close()
	conn, err := dir.Dial(t.Context(), "agent.sock")
	must(t, err)
	conn.Close()
}

func TestListenAndDialRefuse(t *testing.T) {
	dir := openDeep(t)
	must(t, os.WriteFile(dir.Path("file"), nil, 0o600))
	must(t, os.Symlink("elsewhere", dir.Path("link")))
	for name, want := range map[string]string{"file": "a file", "link": "a symbolic link", "../out": "no path below", ".": "no path below", "/abs": "no path below", "missing/x": "no such file"} {
		listener, err := dir.Listen(name)
		if err == nil {
			listener.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q): %v, want an error with %q", name, err, want)
		}
	}
	if _, err := dir.Dial(t.Context(), "missing.sock"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir.Path("missing.sock")) {
		t.Errorf("Dial without a socket: %v", err)
	}
	if conn, err := dir.Dial(t.Context(), "../out"); err == nil {
		conn.Close()
		t.Error("Dial leads out of the folder")
	}
}
