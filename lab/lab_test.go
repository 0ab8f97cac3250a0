package lab

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/lab/image"
)

func TestOpen(t *testing.T) {
	empty := t.TempDir()
	if _, err := Open(empty); !errors.Is(err, ErrNone) {
		t.Errorf("Open of an empty directory: %v, want ErrNone", err)
	}

	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "lab.json"), []byte(`{"cloud":`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(broken); err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "lab.json") {
		t.Errorf("Open of a broken lab.json: %v, want an error that names it", err)
	}

	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	want := &Lab{
		Dir: dir, Cloud: CloudLXD, GitHubURL: "http://198.51.100.2", LXDDir: dir + "/lxd", Root: dir + "/root",
		Processes: []Process{{Name: "lxd", PID: 12, StartTicks: 99}},
	}
	if err := want.save(); err != nil {
		t.Fatal(err)
	}
	got, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was saved is not what is read (-saved +read):\n%s", diff)
	}
}

func TestProcessIsKnownByMoreThanItsNumber(t *testing.T) {
	cmd := exec.Command("cat")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ticks, err := startTicks(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p := Process{Name: "cat", PID: cmd.Process.Pid, StartTicks: ticks}
	another := Process{Name: "cat", PID: cmd.Process.Pid, StartTicks: ticks + 1}
	if !p.Alive() || another.Alive() {
		t.Errorf("Alive: %t for the process, %t for one of the same number; want true, false", p.Alive(), another.Alive())
	}
	if err := another.stop(context.Background()); err != nil || !p.Alive() {
		t.Errorf("stopping another of the same number: error %v, the process is alive: %t", err, p.Alive())
	}
	input.Close()
	if !p.waitGone(context.Background(), time.Minute) {
		t.Error("the process ended, but counts as alive")
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStopKillsWhoIgnoresSIGTERM(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap "" TERM; echo ignoring; while :; do sleep 1; done`)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	ticks, err := startTicks(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p := Process{Name: "stubborn", PID: cmd.Process.Pid, StartTicks: ticks}
	if err := p.stopWithin(context.Background(), 100*time.Millisecond); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v, want signal: killed", err)
	}
}

func TestFreeSubnet(t *testing.T) {
	network := func(cidr string) net.Addr {
		ip, network, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		network.IP = ip
		return network
	}
	var all []net.Addr
	all = append(all, network("198.51.100.0/24"))
	tests := []struct {
		name  string
		taken []net.Addr
		want  string
	}{
		{"nothing taken", nil, "198.51.100.0"},
		{"others' addresses do not matter", []net.Addr{network("10.0.0.1/8"), network("fe80::1/64")}, "198.51.100.0"},
		{"first taken", []net.Addr{network("198.51.100.1/30")}, "198.51.100.4"},
		{"a gap is used", []net.Addr{network("198.51.100.1/30"), network("198.51.100.9/30")}, "198.51.100.4"},
		{"a larger network covers several", []net.Addr{network("198.51.100.3/28")}, "198.51.100.16"},
		{"all taken", all, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := freeSubnet(test.taken)
			if test.want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
				return
			}
			if err != nil || got.String() != test.want {
				t.Errorf("got %s, error %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestChooseCloud(t *testing.T) {
	var progress bytes.Buffer
	options := Options{Images: image.Builder{Cache: t.TempDir()}, Progress: &progress}
	options.Cloud = CloudEmulated
	if got, err := ChooseCloud(options); got != CloudEmulated || err != nil {
		t.Errorf("emulated: got %q, error %v", got, err)
	}
	options.Cloud = CloudOpenStackEmulated
	if got, err := ChooseCloud(options); got != CloudOpenStackEmulated || err != nil {
		t.Errorf("openstack-emulated: got %q, error %v", got, err)
	}
	options.Cloud = "gcp"
	if got, err := ChooseCloud(options); err == nil || !strings.Contains(err.Error(), `"gcp"`) {
		t.Errorf("unknown cloud: got %q, error %v", got, err)
	}

	t.Setenv("PATH", t.TempDir())
	progress.Reset()
	options.Cloud = CloudAuto
	if got, err := ChooseCloud(options); got != CloudEmulated || err != nil {
		t.Errorf("auto without LXD: got %q, error %v", got, err)
	}
	if !strings.Contains(progress.String(), "because real LXD can't run here: ") {
		t.Errorf("auto without LXD says %q, want why", progress.String())
	}
	options.Cloud = CloudLXD
	if got, err := ChooseCloud(options); err == nil || !strings.Contains(err.Error(), "--cloud emulated") {
		t.Errorf("LXD without LXD: got %q, error %v; want advice", got, err)
	}
}

func TestUpTouchesNoDirectoryOfOthers(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(kept, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	_, err := Up(context.Background(), Options{Dir: dir, Cloud: CloudEmulated, Progress: &progress})
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("Up: %v, want a refusal", err)
	}
	if err := Down(context.Background(), dir, &progress); !errors.Is(err, ErrNone) {
		t.Errorf("Down: %v, want ErrNone", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestUpRefusesPathsTooLongForSockets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	var progress bytes.Buffer
	_, err := Up(context.Background(), Options{Dir: dir, Cloud: CloudEmulated, Progress: &progress})
	if err == nil || !strings.Contains(err.Error(), "characters") {
		t.Errorf("Up: %v, want a refusal", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

func TestIsStray(t *testing.T) {
	l := &Lab{Dir: "/x/.lab", LXDDir: "/x/.lab/lxd", Root: "/x/.lab/root"}
	tests := []struct {
		name string
		p    proc
		want bool
	}{
		{"a background process", proc{env: []string{"GITHUB_RUNNER_LAB=/x/.lab"}}, true},
		{"another lab's", proc{env: []string{"GITHUB_RUNNER_LAB=/x/.lab2"}}, false},
		{"a hook", proc{env: []string{"GITHUB_RUNNER_ROOT=/x/.lab/root", "JUJU_CONTEXT_ID=a/0-install-1"}}, true},
		{"a shell of somebody who looks around", proc{env: []string{"GITHUB_RUNNER_ROOT=/x/.lab/root", "LXD_DIR=/x/.lab/lxd"}}, false},
		{"a container's monitor", proc{args: []string{"[lxc monitor] /x/.lab/lxd/containers r1"}}, true},
		{"another lab's monitor", proc{args: []string{"[lxc monitor] /x/.lab2/lxd/containers r1"}}, false},
		{"a bridge's dnsmasq", proc{args: []string{"dnsmasq", "--conf-file=/x/.lab/lxd/networks/b/dnsmasq.raw"}}, true},
		{"a reader of its logs", proc{args: []string{"tail", "-f", "/x/.lab/lxd/logs/lxd.log"}}, false},
		{"a unit's Pebble", proc{args: []string{"/x/.lab/agents/u/charm/pebble", "run"}, env: []string{"PEBBLE=/x/.lab/root/var/lib/github-runner/a-0-ab12/pebble"}}, true},
		{"a service of a unit", proc{args: []string{"/x/.lab/agents/u/charm/github-runner", "agent"}, env: []string{"PEBBLE=/x/.lab/root/var/lib/github-runner/a-0-ab12/pebble"}}, true},
		{"another lab's Pebble", proc{args: []string{"/x/.lab2/agents/u/charm/pebble", "run"}, env: []string{"PEBBLE=/x/.lab2/root/var/lib/github-runner/a-0-ab12/pebble"}}, false},
		{"a shell of somebody who looks at services", proc{args: []string{"bash"}, env: []string{"PEBBLE=/x/.lab/root/var/lib/github-runner/a-0-ab12/pebble"}}, false},
		{"a kernel thread", proc{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := l.isStray(test.p); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestFilesLeftBehind(t *testing.T) {
	dir := t.TempDir()
	l := &Lab{Dir: dir, LXDDir: filepath.Join(dir, "lxd"), Root: filepath.Join(dir, "root")}
	for _, folder := range []string{
		"root/etc/logrotate.d",
		"root/var/log/github-runner-logs/r1",
		"root/var/lib/empty",
		"root/var/lib/full",
		"lxd/disks",
	} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{
		"root/var/log/github-runner-metrics.log",
		"root/etc/logrotate.d/github-runner-metrics",
		"root/etc/logrotate.d/another",
		"root/var/log/github-runner-logs/r1/diag.log",
		"root/var/lib/full/state.json",
		"lxd/disks/pool.img",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := l.files()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		filepath.Join(dir, "root/etc/logrotate.d/another"),
		filepath.Join(dir, "root/var/lib/empty"),
		filepath.Join(dir, "root/var/lib/full/state.json"),
		filepath.Join(dir, "lxd/disks/pool.img"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestInventoryString(t *testing.T) {
	if got := (Inventory{"registrations": nil, "instances": {}}).String(); got != "nothing is left: 0 instances, 0 registrations." {
		t.Errorf("empty: %q", got)
	}
	if got := (Inventory{"mounts": {"/x"}}).String(); !strings.HasPrefix(got, "left behind: ") || !strings.Contains(got, "1 mounts") {
		t.Errorf("a mount: %q", got)
	}
}

func TestUnescape(t *testing.T) {
	if got, want := unescape(`/a\040b\134c`), `/a b\c`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
