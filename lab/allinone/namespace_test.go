package allinone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github-runner/lab/skip"
)

// inNamespace makes the test's program the first process of a namespace.
const inNamespace = "first-of-a-namespace"

func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != inNamespace {
		os.Exit(m.Run())
	}
	status, err := Init(context.Background(), os.Args[2:]...)
	if err != nil {
		fmt.Println(err)
		status = 99
	}
	os.Exit(status)
}

// first runs a shell command as a namespace's only one.
func first(t *testing.T, script string) (output string, status int) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip.Because(t, "namespaces take root")
	}
	cmd := exec.Command(os.Args[0], inNamespace, "/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestInitReturnsTheStatus(t *testing.T) {
	if output, status := first(t, "exit 7"); status != 7 {
		t.Errorf("status %d: %s", status, output)
	}
}

func TestInitShowsItsNamespaceAlone(t *testing.T) {
	output, _ := first(t, "echo /proc/[0-9]*")
	if strings.TrimSpace(output) != "/proc/1 /proc/2" && !strings.HasPrefix(output, "/proc/1 ") {
		t.Errorf("in /proc: %s", output)
	}
}

// A process that has lost its parent is not there any more when it has ended.
func TestInitLaysOrphansToRest(t *testing.T) {
	const script = `
orphan=$(sh -c 'sleep 0.1 >/dev/null & echo $!')
for try in $(seq 100); do
    [ -e /proc/$orphan ] || { echo gone; exit; }
    sleep 0.1
done
cat /proc/$orphan/status`
	if output, _ := first(t, script); strings.TrimSpace(output) != "gone" {
		t.Errorf("the orphan: %s", output)
	}
}

func TestInitIsForNamespaces(t *testing.T) {
	if _, err := Init(t.Context(), "/bin/true"); err == nil {
		t.Error("this process could be made the first of a namespace")
	}
}

func TestObstacle(t *testing.T) {
	if got := Obstacle(Fake); got != "" && !strings.HasPrefix(got, "there is no ") {
		t.Errorf("the obstacle is %q", got)
	}
}
