package lxd

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// connectProxy is an HTTP proxy that remembers what it was asked to connect to.
type connectProxy struct {
	mu      sync.Mutex
	targets []string
}

func (p *connectProxy) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodConnect {
		http.Error(response, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	p.mu.Lock()
	p.targets = append(p.targets, request.Host)
	p.mu.Unlock()
	server, err := net.Dial("tcp4", request.Host)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := response.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	io.WriteString(client, "HTTP/1.1 200 Connected\r\n\r\n")
	go func() {
		io.Copy(server, buffered)
		server.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, server)
}

func (p *connectProxy) asked(target string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.targets, target)
}

const (
	proxyAddress = "198.51.100.254:3128"
	// Two addresses behind the web server's.
	excludedAddress, redirectedAddress = "203.0.113.9", "203.0.113.10"
)

// newProxy adds a proxy, and more places to reach, to a web server's namespace.
func newProxy(t *testing.T, web *webServer) *connectProxy {
	t.Helper()
	for _, address := range []string{excludedAddress, redirectedAddress} {
		for _, arguments := range [][]string{
			{"-n", "ghr-lxd-test", "address", "add", address + "/32", "dev", "web0"},
			{"route", "add", address + "/32", "via", "198.51.100.254"},
		} {
			if out, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v: %s", arguments, err, out)
			}
		}
	}
	proxy := &connectProxy{}
	for address, handler := range map[string]http.Handler{
		proxyAddress:              proxy,
		"198.51.100.254:8080":     web,
		excludedAddress + ":80":   web,
		redirectedAddress + ":80": web,
	} {
		server := &http.Server{Handler: handler}
		go server.Serve(listenIn(t, "/run/netns/ghr-lxd-test", address))
		t.Cleanup(func() { server.Close() })
	}
	return proxy
}

// snap stands in for snapd: it knows one snap, reaches its store through the
// proxy that it was told of, and refuses what the real one refuses.
const snap = `#!/bin/bash
set -eu
state=/var/lib/snap-stand-in
mkdir -p $state
case "$*" in
'wait system seed.loaded') ;;
'list aproxy') [ -e $state/aproxy ] || { echo 'error: no matching snaps installed' >&2; exit 1; } ;;
'set system proxy.http=http://'*' proxy.https=http://'*) echo "${4#proxy.https=}" > $state/proxy ;;
'install aproxy --channel=latest/edge')
  curl -fsS --proxytunnel --proxy "$(cat $state/proxy)" http://203.0.113.10/call/store && touch $state/aproxy ;;
'set aproxy proxy='*' listen=:54969')
  [ -e $state/aproxy ] || { echo 'error: snap "aproxy" is not installed' >&2; exit 1; }
  systemd-run --quiet --unit=snap.aproxy.aproxy python3 /opt/aproxy.py "${3#proxy=}" ;;
'logs aproxy.aproxy -n=5') journalctl -u snap.aproxy.aproxy -n 5 ;;
*) echo "error: unknown command $*" >&2; exit 64 ;;
esac
`

// aproxyProgram does what aproxy does with HTTP: it reads the request's host, and
// the port that the connection was meant for, and has the proxy connect there.
const aproxyProgram = `
import re, socket, struct, sys, threading

def relay(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    try:
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(client):
    head = client.recv(65536)
    host = re.search(rb"(?im)^host: *([^:\r]+)", head)
    if not host:
        return client.close()
    port = struct.unpack("!2xH12x", client.getsockopt(socket.SOL_IP, 80, 16))[0]
    proxy = socket.create_connection(sys.argv[1].rsplit(":", 1), 10)
    proxy.settimeout(None)
    target = host[1] + b":%d" % port
    proxy.sendall(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += proxy.recv(1)
    proxy.sendall(head)
    threading.Thread(target=relay, args=(client, proxy), daemon=True).start()
    relay(proxy, client)

listener = socket.create_server(("", 54969))
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
`

// furnished adds files and folders to what the next runners find in their image.
func furnished(t *testing.T, cloud *Cloud, devices map[string]string) {
	t.Helper()
	server, cancel, err := cloud.connect(t.Context(), callDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	profile := cloud.profile(false)
	for path, source := range devices {
		profile.Devices[strings.Trim(strings.ReplaceAll(path, "/", "-"), "-")] = map[string]string{"type": "disk", "source": source, "path": path}
	}
	if err := server.change(http.MethodPut, apiPath("profiles", cloud.profileName(false)), profile, ""); err != nil {
		t.Fatal(err)
	}
}

// written returns the path of a new file that guests may read and run.
func written(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func aproxyCloud(t *testing.T) *Cloud {
	t.Helper()
	return realCloud(t, func(c *Config) {
		excluded := netip.MustParseAddr(excludedAddress)
		c.Aproxy = cloudinit.Aproxy{
			Proxy:   proxyAddress,
			Exclude: []cloudinit.AddrRange{{From: netip.MustParseAddr("127.0.0.0"), To: netip.MustParseAddr("127.255.255.255")}, {From: excluded, To: excluded}},
			// Also the proxy's own port: what goes there must not come back.
			Ports: []cloudinit.PortRange{{From: 80, To: 80}, {From: 3128, To: 3128}},
		}
	})
}

func TestRealAproxyRedirectsConnections(t *testing.T) {
	cloud := aproxyCloud(t)
	web := newWebServer(t)
	proxy := newProxy(t, web)
	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil {
		t.Fatal(err)
	}
	furnished(t, cloud, map[string]string{"/usr/local/bin/snap": written(t, snap), "/opt/aproxy.py": written(t, aproxyProgram)})
	birth := web.birth(cloud)
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	web.await(t, "store")
	web.await(t, "online/"+birth.Name)
	if !proxy.asked("198.51.100.254:80") {
		t.Error("the runner came online without the proxy")
	}

	web.run(birth.Name, `
		env | grep -qi _proxy= && call variables
		curl -fsS http://203.0.113.9/call/excluded
		curl -fsS http://198.51.100.254:8080/call/port
		curl -fsS http://203.0.113.10/call/redirected
		sudo unshare --net sleep 300 & sleep 1
		nested=$(pgrep -x sleep | tail -1)
		sudo sysctl -qw net.ipv4.ip_forward=1
		sudo ip link add v0 type veth peer name v1 netns $nested
		sudo ip address add 10.99.0.1/24 dev v0; sudo ip link set v0 up
		in_nested() { sudo nsenter --net --target $nested "$@"; }
		in_nested ip address add 10.99.0.2/24 dev v1; in_nested ip link set v1 up
		in_nested ip route add default via 10.99.0.1
		in_nested curl -fsS http://203.0.113.10/call/nested
		call end; sleep 60`)
	for _, what := range []string{"excluded", "port", "redirected", "nested", "end"} {
		web.await(t, what)
	}
	for target, want := range map[string]bool{
		redirectedAddress + ":80": true,
		excludedAddress + ":80":   false,
		"198.51.100.254:8080":     false,
		proxyAddress:              false,
	} {
		if got := proxy.asked(target); got != want {
			t.Errorf("connections to %s went through the proxy: %v, want %v", target, got, want)
		}
	}
	select {
	case <-web.called("variables"):
		t.Error("jobs have proxy variables, which bypass aproxy")
	default:
	}
}

func TestRealRunnerDoesNotComeOnlineWithoutAproxy(t *testing.T) {
	cloud := aproxyCloud(t)
	web := newWebServer(t)
	newProxy(t, web)
	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(snap, "/call/store", "/missing\necho 'error: snap \"aproxy\" not found' >&2; exit 1", 1)
	furnished(t, cloud, map[string]string{"/usr/local/bin/snap": written(t, broken)})
	birth := web.birth(cloud)
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	until(t, cloud, birth.Name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped })
	remains, err := cloud.Collect(t.Context(), birth.Name, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{`error: snap "aproxy" not found`, "cannot install the snap aproxy through the proxy 198.51.100.254:3128"} {
		if !strings.Contains(remains.LastLines, words) {
			t.Errorf("the runner's last lines lack %q:\n%s", words, remains.LastLines)
		}
	}
	select {
	case <-web.called("online/" + birth.Name):
		t.Error("a runner without its proxy came online")
	default:
	}
}

// dockerService stands in for Docker's daemon: as it starts, it says what it was
// told.
const dockerService = `[Unit]
After=network-online.target
Wants=network-online.target
[Service]
ExecStart=/bin/sh -c 'env > /run/docker.env; cat /etc/docker/daemon.json > /run/docker.json; echo start >> /run/docker.starts; exec sleep infinity'
`

func TestRealProxiesReachJobsAndDocker(t *testing.T) {
	const hostileProxy = `http://user:p'"$&;(*)%25@198.51.100.254:3128`
	cloud := realCloud(t, func(c *Config) {
		c.Proxy = cloudinit.Proxy{HTTP: secret.New(hostileProxy), NoProxy: "198.51.100.0/24"}
		c.DockerMirror = "https://mirror.example.com/'$(id)&x"
	})
	web := newWebServer(t)
	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(t.TempDir(), "docker")
	for _, err := range []error{
		os.Mkdir(docker, 0o777), os.Chmod(docker, 0o777),
		os.WriteFile(filepath.Join(docker, "daemon.json"), []byte(`{"data-root": "/srv"}`), 0o666),
		os.Chmod(filepath.Join(docker, "daemon.json"), 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	furnished(t, cloud, map[string]string{
		"/etc/docker":                                         docker,
		"/etc/systemd/system/docker.service":                  written(t, dockerService),
		"/etc/systemd/system/multi-user.target.d/docker.conf": written(t, "[Unit]\nWants=docker.service\n"),
	})
	birth := web.birth(cloud)
	if err := cloud.Create(t.Context(), template, birth); err != nil {
		t.Fatal(err)
	}
	web.await(t, "online/"+birth.Name)

	// The words are quoted for the shell that checks them.
	quoted := strings.ReplaceAll(hostileProxy, "'", `'\''`)
	web.run(birth.Name, `
		proxy='`+quoted+`'
		mirror='https://mirror.example.com/'\''$(id)&x'
		direct=198.51.100.0/24,`+birth.Name+`,.svc
		check() { if [ "$2" = "$3" ]; then call $1; else curl -fsS --data-binary "$2" $web/call/bad-$1; fi; }
		web='`+web.url+`'
		grep -qFx "HTTP_PROXY=$proxy" .env && call env
		check application "$http_proxy" "$proxy"
		check login "$(sudo su - ubuntu -c 'printenv HTTP_PROXY')" "$proxy"
		check login-direct "$(sudo su - ubuntu -c 'printenv no_proxy')" "$direct"
		check login-mirror "$(sudo su - ubuntu -c 'printenv DOCKERHUB_MIRROR')" "$mirror"
		for who in root ubuntu; do
			check client-$who "$(sudo -u $who python3 -c 'import json, os; print(json.load(open(os.path.expanduser("~'$who'/.docker/config.json")))["proxies"]["default"]["httpProxy"])')" "$proxy"
		done
		check client-mode "$(stat -c %U:%a ~/.docker/config.json)" ubuntu:600
		for i in 1 2 3 4 5 6 7 8 9 10; do [ -e /run/docker.starts ] && break; sleep 1; done
		grep -qFx "HTTP_PROXY=$proxy" /run/docker.env && call daemon
		check daemon-json "$(python3 -c 'import json; d = json.load(open("/run/docker.json")); print(d["data-root"], *d["registry-mirrors"])')" "/srv $mirror"
		check daemon-starts "$(cat /run/docker.starts)" start
		call end; sleep 60`)
	web.await(t, "end")
	for _, what := range []string{
		"env", "application", "login", "login-direct", "login-mirror", "client-root", "client-ubuntu", "client-mode", "daemon", "daemon-json", "daemon-starts",
	} {
		select {
		case <-web.called(what):
		default:
			t.Errorf("not as it should be: %s", what)
		}
	}
}
