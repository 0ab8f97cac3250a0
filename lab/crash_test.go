package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"golang.org/x/sys/unix"

	"github-runner/lab/skip"
)

// The lab lies where only root gets through, holds a running container, and its
// daemons are killed: down has to find everything all the same.
func TestRealLXDDownAfterCrash(t *testing.T) {
	options, progress := testOptions(t, CloudLXD)
	if obstacle := lxdObstacle(options.Images); obstacle != "" {
		skip.Because(t, "real LXD can't run here: %s", obstacle)
	}
	if err := os.Chmod(filepath.Dir(options.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	l, err := Up(ctx, options)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress)
	}
	bridge := "lt-" + tagOf(l.Dir)
	t.Cleanup(func() { assertGone(t, l, bridge) })
	startContainer(t, ctx, l, bridge)
	assertReaches(t, ctx, l, l.GitHubURL)
	assertStartsAgain(t, ctx, l)
	if err := run(ctx, "nft", "add", "table", "inet", bridge); err != nil {
		t.Fatal(err)
	}
	exchange := filepath.Join(l.Root, "var/lib/exchange")
	if err := os.MkdirAll(exchange, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", exchange, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}

	left, err := l.Leftovers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"instances", "networks", "storage pools", "bridges", "firewall tables", "mounts", "files"} {
		if len(left[kind]) == 0 {
			t.Errorf("no %s are listed, with a container running: %v", kind, left)
		}
	}

	for _, p := range l.Processes {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !p.waitGone(ctx, stopTimeout) {
			t.Fatalf("%s survives", p.Name)
		}
	}
	if _, err := Up(ctx, options); err == nil || !strings.Contains(err.Error(), "was not ended") {
		t.Errorf("Up after a crash: error %v, want a refusal", err)
	}
	if err := Down(ctx, options.Dir, progress); err != nil {
		t.Errorf("Down: %v", err)
	}
	t.Logf("%s", progress)
}

// LXD's database is lost as well: down does without the daemon.
func TestRealLXDDownWithoutLXD(t *testing.T) {
	options, progress := testOptions(t, CloudLXD)
	if obstacle := lxdObstacle(options.Images); obstacle != "" {
		skip.Because(t, "real LXD can't run here: %s", obstacle)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	l, err := Up(ctx, options)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress)
	}
	bridge := "lt-" + tagOf(l.Dir)
	t.Cleanup(func() { assertGone(t, l, bridge) })
	startContainer(t, ctx, l, bridge)
	inside := processesOfContainer(t, l)
	if len(inside) == 0 {
		t.Fatal("the container has no processes")
	}

	for _, p := range l.running("lxd") {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !p.waitGone(ctx, stopTimeout) {
			t.Fatalf("%s survives", p.Name)
		}
	}
	if err := os.WriteFile(filepath.Join(l.LXDDir, "database", "local.db"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Down(ctx, options.Dir, progress); err != nil {
		t.Errorf("Down: %v", err)
	}
	for _, p := range inside {
		if !p.waitGone(ctx, stopTimeout) {
			t.Errorf("process %d of the container survives", p.PID)
		}
	}
	chains, err := firewallChains(ctx, []string{bridge})
	if err != nil || len(chains) > 0 {
		t.Errorf("firewall chains are left: %v, error %v", chains, err)
	}
	t.Logf("%s", progress)
}

// assertStartsAgain kills the daemon itself, as its own crash does, and waits until
// one answers that is another.
func assertStartsAgain(t *testing.T, ctx context.Context, l *Lab) {
	t.Helper()
	daemons := func() []proc {
		found, err := processes(func(p proc) bool {
			return len(p.args) > 0 && p.args[0] == "lxd" && slices.Contains(p.env, ownerVariable+"="+l.Dir)
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	first := daemons()
	if len(first) != 1 {
		t.Fatalf("got the daemons %v, want one", first)
	}
	if err := syscall.Kill(first[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !first[0].waitGone(ctx, stopTimeout) {
		t.Fatal("LXD survives SIGKILL")
	}
	deadline, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !lxdReady(deadline, l.LXDSocket()) {
		select {
		case <-deadline.Done():
			t.Fatal("LXD was not started again after it was killed")
		case <-tick.C:
		}
	}
}

// processesOfContainer returns the children of the container's monitor.
func processesOfContainer(t *testing.T, l *Lab) []Process {
	t.Helper()
	monitors, err := processes(func(p proc) bool {
		return len(p.args) > 0 && strings.HasPrefix(p.args[0], "[lxc monitor] "+l.LXDDir)
	})
	if err != nil {
		t.Fatal(err)
	}
	var inside []Process
	for _, monitor := range monitors {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", monitor.PID, monitor.PID))
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			if ticks, err := startTicks(pid); err == nil {
				inside = append(inside, Process{Name: "container", PID: pid, StartTicks: ticks})
			}
		}
	}
	return inside
}

// startContainer starts one container on a bridge and a pool of its own.
func startContainer(t *testing.T, ctx context.Context, l *Lab, bridge string) {
	t.Helper()
	server, err := connectLXD(ctx, l.LXDSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Disconnect()
	network := api.NetworksPost{Name: bridge}
	network.Config = map[string]string{"ipv4.address": "10.231.77.1/24", "ipv4.nat": "true", "ipv6.address": "none"}
	if err := server.CreateNetwork(network); err != nil {
		t.Fatal(err)
	}
	pool := api.StoragePoolsPost{Name: "pool", Driver: "dir"}
	if err := server.CreateStoragePool(pool); err != nil {
		t.Fatal(err)
	}
	instance := api.InstancesPost{Name: "crash-test", Type: api.InstanceTypeContainer}
	instance.Source = api.InstanceSource{Type: "image", Alias: "noble"}
	instance.Devices = map[string]map[string]string{
		"root": {"type": "disk", "path": "/", "pool": "pool"},
		"eth0": {"type": "nic", "network": bridge},
	}
	mustDo(t, ctx, func() (lxd.Operation, error) { return server.CreateInstance(instance) })
	mustDo(t, ctx, func() (lxd.Operation, error) {
		return server.UpdateInstanceState("crash-test", api.InstanceStatePut{Action: "start"}, "")
	})
}

// assertReaches checks that the container gets an address and, from its bridge,
// through to the GitHub stand-in.
func assertReaches(t *testing.T, ctx context.Context, l *Lab, url string) {
	t.Helper()
	server, err := connectLXD(ctx, l.LXDSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Disconnect()
	script := fmt.Sprintf("for i in $(seq 100); do curl -s -o /dev/null -m 1 %s && exit 0; sleep 0.1; done; exit 1", url)
	operation, err := server.ExecInstance("crash-test", api.InstanceExecPost{Command: []string{"sh", "-c", script}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := operation.WaitContext(ctx); err != nil {
		t.Fatal(err)
	}
	if status := operation.Get().Metadata["return"]; status != 0.0 {
		t.Errorf("the container does not reach %s: status %v", url, status)
	}
}

func mustDo(t *testing.T, ctx context.Context, do func() (lxd.Operation, error)) {
	t.Helper()
	operation, err := do()
	if err != nil {
		t.Fatal(err)
	}
	if err := operation.WaitContext(ctx); err != nil {
		t.Fatal(err)
	}
}

// assertGone checks by other means than Down's own that nothing is left.
func assertGone(t *testing.T, l *Lab, bridge string) {
	t.Helper()
	for _, dir := range []string{l.Dir, l.LXDDir} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	for _, name := range []string{bridge, l.Network.Link} {
		if _, err := net.InterfaceByName(name); err == nil {
			t.Errorf("interface %s is still there", name)
		}
	}
	if exec.Command("nft", "list", "table", "inet", bridge).Run() == nil {
		t.Errorf("the firewall table %s is still there", bridge)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{l.Dir, l.LXDDir, l.Network.Namespace} {
		if strings.Contains(string(mounts), dir) {
			t.Errorf("something is still mounted below %s", dir)
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), l.LXDDir) {
			t.Errorf("a process is left: %q", line)
		}
	}
}
