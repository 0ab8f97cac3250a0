package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if err := becomeSubreaper(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// loop keeps a shell busy for a while.
const loop = `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done`

func shell(t *testing.T, script string) command {
	t.Helper()
	dir := t.TempDir()
	return command{path: "/bin/sh", args: []string{"-c", script}, dir: dir, output: filepath.Join(dir, "output")}
}

func measured(t *testing.T, c command) Usage {
	t.Helper()
	usage, err := measure(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return usage
}

func TestMeasureCPU(t *testing.T) {
	own := measured(t, shell(t, loop))
	if own.CPU < time.Millisecond || own.CPU > own.Wall*2 {
		t.Errorf("a busy process used %v of CPU time in %v", own.CPU, own.Wall)
	}
	// The colon keeps the outer shell from becoming the inner one.
	children := measured(t, shell(t, "sh -c '"+loop+"'; :"))
	if children.CPU > own.CPU/3 {
		t.Errorf("a process that only waits for a child used %v of CPU time, and a busy one %v", children.CPU, own.CPU)
	}
}

func TestMeasureMemory(t *testing.T) {
	// Memory of this process, which must not count as the other's.
	ballast := make([]byte, 128<<20)
	for i := 0; i < len(ballast); i += 1 << 10 {
		ballast[i] = 1
	}
	usage := measured(t, shell(t, ":"))
	if usage.PeakMemory <= 0 || usage.PeakMemory > 32<<20 {
		t.Errorf("a shell that does nothing had %d bytes at its peak", usage.PeakMemory)
	}
	if ballast[0] != 1 {
		t.Error("the ballast is gone")
	}
}

func TestMeasureEnvironment(t *testing.T) {
	c := shell(t, `test "$(pwd)" = "$PLACE" && test -z "$HOME" && read line || echo "place $PLACE, home $HOME, stdin ${line-empty}"`)
	c.env = []string{"PLACE=" + c.dir}
	measured(t, c)
	said, err := os.ReadFile(c.output)
	if err != nil {
		t.Fatal(err)
	}
	if want := "place " + c.dir + ", home , stdin \n"; string(said) != want {
		t.Errorf("the process says %q, want %q", said, want)
	}
}

func TestMeasureFailure(t *testing.T) {
	_, err := measure(t.Context(), shell(t, "echo cannot find the thing >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "cannot find the thing") {
		t.Errorf("error %q does not tell status 3 and what was printed", err)
	}
}

func TestMeasureCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := shell(t, `trap 'exit 0' TERM; echo > started; while :; do sleep 0.02; done`)
	go func() {
		defer cancel()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			if _, err := os.Stat(filepath.Join(c.dir, "started")); err == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	if _, err := measure(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}
