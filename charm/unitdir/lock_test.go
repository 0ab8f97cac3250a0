package unitdir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// holdEnv makes the test binary a process that holds the lock of the named
// root until it is killed.
const holdEnv = "UNITDIR_TEST_HOLD"

func TestMain(m *testing.M) {
	if root := os.Getenv(holdEnv); root != "" {
		os.Exit(hold(root))
	}
	os.Exit(m.Run())
}

func hold(root string) int {
	dir, err := Open(root, "unit-0-ab12")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := dir.Lock(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("locked")
	bufio.NewReader(os.Stdin).ReadByte()
	return 0
}

// startHolder starts another process and waits until it has the lock.
func startHolder(t *testing.T, root string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+root)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	if line != "locked\n" {
		t.Fatalf("the other process said %q", line)
	}
	return cmd
}

func TestLockOfAnotherProcess(t *testing.T) {
	root := t.TempDir()
	holder := startHolder(t, root)
	dir, err := Open(root, "unit-0-ab12")
	must(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = dir.Lock(ctx)

	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want that of the deadline", err)
	}
	if want := fmt.Sprintf("process %d has had it since", holder.Process.Pid); !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
}

func TestLockOfAKilledProcessIsFree(t *testing.T) {
	root := t.TempDir()
	holder := startHolder(t, root)
	dir, err := Open(root, "unit-0-ab12")
	must(t, err)
	must(t, holder.Process.Kill())

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unlock, err := dir.Lock(ctx)
	must(t, err)
	unlock()
	unlock()
}

func TestLockIsHandedOver(t *testing.T) {
	dir := open(t)
	first, err := dir.Lock(t.Context())
	must(t, err)
	second := make(chan func())
	go func() {
		unlock, err := dir.Lock(t.Context())
		if err != nil {
			t.Error(err)
		}
		second <- unlock
	}()
	select {
	case <-second:
		t.Fatal("two have the lock")
	case <-time.After(10 * time.Millisecond):
	}
	first()
	select {
	case unlock := <-second:
		unlock()
	case <-time.After(time.Minute):
		t.Fatal("the lock was not handed over")
	}
}

func TestLockThatWasGivenUpIsLetGo(t *testing.T) {
	dir := open(t)
	unlock, err := dir.Lock(t.Context())
	must(t, err)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := dir.Lock(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want that of the cancelled context", err)
		}
	}
	unlock()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unlock, err = dir.Lock(ctx)
	must(t, err)
	unlock()
}

func TestLockOfARemovedUnit(t *testing.T) {
	dir := open(t)
	unlock, err := dir.Lock(t.Context())
	must(t, err)
	result := make(chan error)
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		_, err := dir.Lock(t.Context())
		result <- err
	}()
	<-waiting
	select {
	case err := <-result:
		t.Fatalf("got the lock, or %v, while another has it", err)
	case <-time.After(20 * time.Millisecond):
	}
	must(t, dir.Remove())
	unlock()
	if err := <-result; !errors.Is(err, ErrRemoved) {
		t.Errorf("error %v, want ErrRemoved", err)
	}
}

func TestLockWithoutTime(t *testing.T) {
	dir := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dir.Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the cancelled context", err)
	}
}
