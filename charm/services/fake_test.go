package services

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github-runner/charm/unitdir"
)

// pebbleProgram is Pebble as the charm ships it, built for all tests.
var pebbleProgram string

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "github-runner":
		os.Exit(fake(os.Args[1:]))
	case "pebble":
		os.Exit(fakePebble())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "services")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	pebbleProgram = filepath.Join(dir, "pebble")
	build := exec.Command("go", "build", "-trimpath", "-o", pebbleProgram, "github.com/canonical/pebble/cmd/pebble")
	build.Dir = "../../tools/pebble"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build Pebble: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// fake is the charm's program as far as Pebble needs it: this test binary under
// its name. Files in the unit's folder tell it to fail.
func fake(args []string) int {
	role, key := args[0], args[len(args)-1]
	dir, err := unitdir.Open(os.Getenv("GITHUB_RUNNER_ROOT"), key)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	told := func(what, who string) bool {
		_, err := os.Stat(dir.Path(what + "-" + who))
		return err == nil
	}
	if role == "health" {
		if told("sick", args[1]) {
			fmt.Println("it is told to be sick")
			return 1
		}
		return 0
	}
	if told("broken", role) {
		fmt.Fprintln(os.Stderr, "cannot work: it is told to be broken")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := dir.Listen(role + ".sock")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	context.AfterFunc(ctx, func() { server.Close() })
	server.Serve(listener)
	return 0
}

// fakePebble is a daemon that answers whether it is there, and nothing else: told of
// a layer, it notes so, and is stuck.
func fakePebble() int {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/system-info", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/v1/layers", func(_ http.ResponseWriter, r *http.Request) {
		os.WriteFile("asked", nil, 0o600)
		<-r.Context().Done()
	})
	listener, err := net.Listen("unix", socketName)
	if err == nil {
		err = sayReady()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	server.Serve(listener)
	return 0
}

// sayReady tells who started the process that it is ready, as systemd has it.
func sayReady() error {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("READY=1"))
	return err
}

// stage is a unit with a charm of its own, whose services are fakes.
type stage struct {
	*Unit
	t *testing.T
}

// newStage makes a unit of a key on the machine of a root.
func newStage(t *testing.T, root, key string) stage {
	t.Helper()
	dir, err := unitdir.Open(root, key)
	must(t, err)
	charmDir := filepath.Join(root, "agents", key, "charm")
	must(t, os.MkdirAll(charmDir, 0o755))
	s := stage{t: t}
	install(t, charmDir)
	log := logrus.New()
	log.SetOutput(t.Output())
	s.Unit, err = New(Config{Dir: dir, CharmDir: charmDir, Root: root, LXDDir: filepath.Join(root, "it's lxd"), Log: logrus.NewEntry(log)})
	must(t, err)
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// install puts the programs into the charm's folder as Juju does: over others, as
// new files.
func install(t *testing.T, charmDir string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	replace(t, filepath.Join(charmDir, "github-runner"), self)
	replace(t, filepath.Join(charmDir, "pebble"), pebbleProgram)
}

// replace puts a copy of a program in the place of what is at a path, as a new file.
func replace(t *testing.T, path, program string) {
	t.Helper()
	data, err := os.ReadFile(program)
	must(t, err)
	must(t, os.RemoveAll(path))
	must(t, os.WriteFile(path, data, 0o755))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// longRoot is a root as long as those of a lab, and longer than a socket's
// address can be.
func longRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a root with spaces and 'quotes', which is longer than the address of a socket may be")
	must(t, os.MkdirAll(root, 0o755))
	root, err := filepath.EvalSymlinks(root)
	must(t, err)
	return root
}

// ensure is Ensure that must work.
func (s stage) ensure(want Want) []string {
	s.t.Helper()
	mended, err := s.Ensure(s.t.Context(), want)
	must(s.t, err)
	return mended
}

// daemon is the one daemon that runs.
func (s stage) daemon() process {
	s.t.Helper()
	daemons, _, err := s.processes()
	must(s.t, err)
	if len(daemons) != 1 {
		s.t.Fatalf("the daemons are %+v, want one", daemons)
	}
	return daemons[0]
}

// await waits until a service runs as a process that is not the given one.
func (s stage) await(name string, other int) process {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		_, running, err := s.processes()
		must(s.t, err)
		for _, p := range running {
			if p.service == name && p.pid != other {
				return p
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("the %s does not run", name)
	return process{}
}

// awaitHealth waits until a service's health fits.
func (s stage) awaitHealth(name string, fits func(Health) bool) Health {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	var last []Health
	for time.Now().Before(deadline) {
		var err error
		last, err = s.Report(s.t.Context())
		must(s.t, err)
		for _, h := range last {
			if h.Name == name && fits(h) {
				return h
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("the %s does not get there: %+v", name, last)
	return Health{}
}

// halt stops a process as a debugger does, and waits until none of its threads runs.
func halt(t *testing.T, p process) {
	t.Helper()
	must(t, syscall.Kill(p.pid, syscall.SIGSTOP))
	tasks := filepath.Join("/proc", strconv.Itoa(p.pid), "task", "*", "stat")
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		paths, err := filepath.Glob(tasks)
		must(t, err)
		if len(paths) > 0 && !slices.ContainsFunc(paths, runs) {
			return
		}
		time.Sleep(time.Millisecond) // the kernel tells nobody but the parent
	}
	t.Fatalf("process %d does not stop", p.pid)
}

// runs reports whether the thread of a stat file runs, or may: one that has ended does
// not.
func runs(stat string) bool {
	data, err := os.ReadFile(stat)
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(state, "T")
}

// kill ends a process as nobody should, and waits until it is gone.
func kill(t *testing.T, p process) {
	t.Helper()
	fd, err := unix.PidfdOpen(p.pid, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, syscall.Kill(p.pid, syscall.SIGKILL))
	if ended, err := waitEnd(t.Context(), fd, 20*time.Second); err != nil || !ended {
		t.Fatalf("process %d does not end: %v", p.pid, err)
	}
}
