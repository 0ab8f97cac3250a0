package lxd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/flock"
	"github-runner/lab/skip"
)

// realDirVariable names the folder of a real daemon that tests may use.
const realDirVariable = "GITHUB_RUNNER_TEST_LXD_DIR"

// realCloud returns a cloud of a real LXD, which the test leaves as it was.
func realCloud(t *testing.T, change func(*Config)) *Cloud {
	t.Helper()
	dir := os.Getenv(realDirVariable)
	if dir == "" {
		skip.Because(t, "%s is not set to the folder of a running LXD daemon with an image noble; `make test` does that", realDirVariable)
	}
	log := logrus.New()
	log.SetOutput(t.Output())
	config := testConfig(t)
	config.Owner.ModelUUID = t.Name()
	config.Socket = filepath.Join(dir, "unix.socket")
	config.Log = logrus.NewEntry(log)
	if change != nil {
		change(&config)
	}
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, cloud) })
	return cloud
}

// removeAll removes what a test left, and fails it if that can't be.
func removeAll(t *testing.T, cloud *Cloud) {
	ctx := context.Background()
	left, err := cloud.List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, instance := range left {
		if instance.Foreign {
			continue
		}
		if err := cloud.Delete(ctx, instance.Name); err != nil {
			t.Error(err)
		}
	}
	// LXD 5.0 fails now and then in what it runs, such as nft; a hook would try again.
	for range 3 {
		if err = cloud.Destroy(ctx); err == nil {
			return
		}
	}
	t.Error(err)
}

// emptyInstance asks for a container with nothing in it, which is never started.
func emptyInstance(cloud *Cloud, name string, config map[string]string) api.InstancesPost {
	return api.InstancesPost{Name: name, Type: Container, Source: api.InstanceSource{Type: "none"}, InstancePut: api.InstancePut{Profiles: []string{cloud.profileName(false)}, Config: config}}
}

// webServer plays GitHub for machines that can't reach this machine's own
// addresses: it lives in a network namespace of its own. It offers a runner
// application whose run.sh calls home and runs the script that it is answered.
type webServer struct {
	url     string
	archive []byte
	// files are more to offer, by number, and those of a folder by name.
	files  []string
	folder string
	// downloads is how often the application was asked for.
	downloads atomic.Int32

	mu      sync.Mutex
	scripts map[string]chan string
	calls   map[string]chan struct{}
}

const testApplication = `#!/bin/bash
cd "$(dirname "$0")"
while IFS= read -r line; do export "${line%%=*}=${line#*=}"; done < .env
[ "$ACTIONS_RUNNER_INPUT_JITCONFIG" = test-jit ] || exit 1
echo Listening for Jobs
eval "$(curl -fsS URL/next/$(hostname))"
`

// webSpace is the network namespace of the web server, webAddress its address.
const (
	webSpace   = "ghr-lxd-test"
	webAddress = "198.51.100.254"
)

func newWebServer(t *testing.T) *webServer {
	t.Helper()
	const space = webSpace
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	// One test of a machine at a time, whoever runs it.
	turn := filepath.Join(os.TempDir(), space)
	if err := os.WriteFile(turn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := flock.Take(t.Context(), turn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	// Nobody else has a turn: what is there was left by a run that was killed.
	if _, err := os.Stat("/run/netns/" + space); err == nil {
		run("netns", "delete", space)
	}
	run("netns", "add", space)
	t.Cleanup(func() { exec.Command("ip", "netns", "delete", space).Run() })
	run("link", "add", "ghrtest0", "type", "veth", "peer", "name", "web0", "netns", space)
	t.Cleanup(func() { exec.Command("ip", "link", "delete", "ghrtest0").Run() })
	run("address", "add", "198.51.100.253/30", "dev", "ghrtest0")
	run("link", "set", "ghrtest0", "up")
	run("-n", space, "address", "add", webAddress+"/30", "dev", "web0")
	run("-n", space, "link", "set", "web0", "up")
	run("-n", space, "link", "set", "lo", "up")

	listener := listenIn(t, "/run/netns/"+space, webAddress+":80")
	web := &webServer{url: "http://" + webAddress, scripts: map[string]chan string{}, calls: map[string]chan struct{}{}}
	web.archive = tarball(t, strings.ReplaceAll(testApplication, "URL", web.url))
	server := &http.Server{Handler: web}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return web
}

// listenIn opens a socket in another network namespace.
func listenIn(t *testing.T, space, address string) net.Listener {
	t.Helper()
	type result struct {
		listener net.Listener
		err      error
	}
	done := make(chan result)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and no
		// other one finds itself in the wrong namespace.
		runtime.LockOSThread()
		file, err := os.Open(space)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		listener, err := net.Listen("tcp4", address)
		done <- result{listener, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.listener
}

func tarball(t *testing.T, script string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipped)
	if err := archive.WriteHeader(&tar.Header{Name: "./run.sh", Mode: 0o755, Size: int64(len(script))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(archive, script); err != nil {
		t.Fatal(err)
	}
	archive.Close()
	zipped.Close()
	return buffer.Bytes()
}

func (w *webServer) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/")
	switch kind {
	case "application":
		w.downloads.Add(1)
		response.Write(w.archive)
	case "next":
		w.call("online/" + rest)
		select {
		case script := <-w.script(rest):
			io.WriteString(response, script)
		case <-request.Context().Done():
		}
	case "call":
		w.call(rest)
	case "folder":
		http.ServeFile(response, request, filepath.Join(w.folder, filepath.Base(rest)))
	case "file":
		if number, err := strconv.Atoi(rest); err == nil && number < len(w.files) {
			http.ServeFile(response, request, w.files[number])
		}
	}
}

func (w *webServer) script(name string) chan string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scripts[name] == nil {
		w.scripts[name] = make(chan string, 1)
	}
	return w.scripts[name]
}

func (w *webServer) called(what string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls[what] == nil {
		w.calls[what] = make(chan struct{}, 16)
	}
	return w.calls[what]
}

func (w *webServer) call(what string) {
	w.called(what) <- struct{}{}
}

// await waits for a machine's call.
func (w *webServer) await(t *testing.T, what string) {
	t.Helper()
	select {
	case <-w.called(what):
	case <-time.After(3 * time.Minute):
		t.Fatalf("nobody called %s", what)
	}
}

// run answers the machine that is online with a script.
func (w *webServer) run(name, script string) {
	w.script(name) <- fmt.Sprintf("call() { curl -fsS %s/call/$1; }\n%s", w.url, script)
}

func (w *webServer) want() runner.Want {
	sum := sha256.Sum256(w.archive)
	return runner.Want{
		Count: 1,
		Scope: runner.Scope{API: "http://198.51.100.254", Path: "acme/widgets"},
		Application: runner.Application{
			URL:    w.url + "/application",
			SHA256: hex.EncodeToString(sum[:]),
		},
	}
}

func (w *webServer) birth(cloud *Cloud) runner.Birth {
	return runner.Birth{Name: cloud.config.Owner.NewName(), Scope: w.want().Scope, RunnerID: 7, JIT: secret.New("test-jit")}
}
