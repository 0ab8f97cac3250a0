package lxd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github-runner/lab/skip"
)

// realDir names the directory of a real LXD daemon that the emulation is
// compared with. The daemon must have an image with the alias noble; the test
// makes and removes a pool, networks, profiles, images and instances called emucmp….
const realDir = "GITHUB_RUNNER_TEST_LXD_DIR"

// request is one line of the conversation that both daemons are asked to have.
type request struct {
	method, path, body string
}

// conversation is held in order. FOLDER stands for an existing folder, FINGERPRINT
// for the last image that was made.
var conversation = []request{
	{"GET", "/", ""},
	{"GET", "/1.0", ""},
	{"GET", "/1.0/nosuch", ""},
	{"DELETE", "/1.0/instances", ""},
	{"PUT", "/1.0/networks", "{}"},
	{"GET", "/1.0/projects?recursion=1", ""},
	{"GET", "/1.0/projects/default", ""},
	{"GET", "/1.0/projects/emucmp", ""},
	{"GET", "/1.0/operations/emucmp", ""},
	{"GET", "/1.0/operations/emucmp/wait", ""},
	{"DELETE", "/1.0/operations/emucmp", ""},
	{"GET", "/1.0/events?type=emucmp", ""},

	{"GET", "/1.0/images?recursion=1", ""},
	{"GET", "/1.0/images/emucmp", ""},
	{"DELETE", "/1.0/images/emucmp", ""},
	{"GET", "/1.0/images/aliases/noble", ""},
	{"GET", "/1.0/images/aliases/emucmp", ""},
	{"DELETE", "/1.0/images/aliases/emucmp", ""},
	{"POST", "/1.0/images/aliases", `{"name":"noble","target":"00"}`},

	{"POST", "/1.0/network-acls", `{"name":"emucmp","egress":[{"action":"reject","destination":"10.0.0.1/32,10.1.0.0/16","state":"enabled"},{"action":"reject","destination":"::/0","state":"enabled"}]}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp"}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp x"}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp2","egress":[{"action":"burn","state":"enabled"}]}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp2","egress":[{"action":"allow"}]}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp2","egress":[{"action":"allow","state":"enabled","destination":"nowhere"}]}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp2","egress":[{"action":"allow","state":"enabled","destination_port":"80"}]}`},
	{"POST", "/1.0/network-acls", `{"name":"emucmp2","egress":[{"action":"allow","state":"enabled","protocol":"carrier-pigeon"}]}`},
	{"GET", "/1.0/network-acls/emucmp", ""},
	{"GET", "/1.0/network-acls?recursion=1", ""},
	{"GET", "/1.0/network-acls/emucmp2", ""},
	{"PUT", "/1.0/network-acls/emucmp2", "{}"},

	{"POST", "/1.0/networks", `{"name":"emucmp0","type":"bridge","config":{"ipv4.address":"10.199.91.1/24","ipv4.nat":"true","ipv6.address":"none"}}`},
	{"POST", "/1.0/networks", `{"name":"emucmp0","type":"bridge","config":{"ipv4.address":"10.199.92.1/24","ipv6.address":"none"}}`},
	{"POST", "/1.0/networks", `{"name":"emucmp1","type":"bridge","config":{"ipv4.address":"10.199.91.1/24","ipv6.address":"none"}}`},
	{"POST", "/1.0/networks", `{"name":"emucmp1","type":"bridge","config":{"ipv4.address":"10.199.92.1/24","ipv6.address":"none","colour":"blue"}}`},
	{"POST", "/1.0/networks", `{"name":"emucmp1","type":"bridge","config":{"ipv4.address":"nowhere","ipv6.address":"none"}}`},
	{"POST", "/1.0/networks", `{"name":"emucmp1","type":"bridge","config":{"ipv4.address":"10.199.92.1/24","ipv6.address":"none","security.acls":"emucmp2"}}`},
	{"POST", "/1.0/networks", `{"name":"emucmp-is-too-long","type":"bridge"}`},
	{"POST", "/1.0/networks", `{"name":"lo","type":"bridge","config":{"ipv4.address":"10.199.92.1/24","ipv6.address":"none"}}`},
	{"POST", "/1.0/networks", `{"type":"bridge"}`},
	{"GET", "/1.0/networks/emucmp0", ""},
	{"GET", "/1.0/networks/emucmp1", ""},
	{"GET", "/1.0/networks?recursion=1", ""},
	{"PATCH", "/1.0/networks/emucmp0", `{"config":{"security.acls":"emucmp","security.acls.default.egress.action":"allow"}}`},
	{"PUT", "/1.0/networks/emucmp0", `{"config":{"colour":"blue"}}`},
	{"PUT", "/1.0/networks/emucmp1", "{}"},
	{"DELETE", "/1.0/networks/emucmp1", ""},
	{"GET", "/1.0/network-acls/emucmp", ""},
	{"DELETE", "/1.0/network-acls/emucmp", ""},
	{"DELETE", "/1.0/network-acls/emucmp2", ""},

	{"POST", "/1.0/storage-pools", `{"name":"emucmp","driver":"dir","config":{}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp","driver":"dir"}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"tape"}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"dir","config":{"size":"1GiB"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"dir","config":{"source":"/nonexistent/x"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"btrfs","config":{"size":"much"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"dir","config":{"source":"/proc/self/emucmp"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"dir","config":{"source":"/proc/self"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"btrfs","config":{"source":"/nonexistent/emucmp/pool"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"btrfs","config":{"source":"FOLDER"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"btrfs","config":{"source":"FOLDER/emucmp"}}`},
	{"POST", "/1.0/storage-pools", `{"name":"emucmp2","driver":"btrfs","config":{"source":"/dev/null/emucmp"}}`},
	{"GET", "/1.0/storage-pools/emucmp", ""},
	{"GET", "/1.0/storage-pools/emucmp2", ""},
	{"GET", "/1.0/storage-pools/emucmp/resources", ""},
	{"GET", "/1.0/storage-pools/emucmp2/resources", ""},
	{"GET", "/1.0/storage-pools?recursion=1", ""},
	{"PUT", "/1.0/storage-pools/emucmp", `{"config":{"colour":"blue"}}`},
	{"PUT", "/1.0/storage-pools/emucmp", `{"description":"x"}`},
	{"DELETE", "/1.0/storage-pools/emucmp2", ""},
	{"POST", "/1.0/storage-pools/emucmp/volumes/custom", `{"name":"v"}`},
	{"POST", "/1.0/storage-pools/emucmp/volumes/custom", `{"name":"v"}`},
	{"GET", "/1.0/storage-pools/emucmp/volumes?recursion=1", ""},
	{"DELETE", "/1.0/storage-pools/emucmp/volumes/custom/v", ""},
	{"DELETE", "/1.0/storage-pools/emucmp/volumes/custom/v", ""},

	{"POST", "/1.0/profiles", `{"name":"emucmp","config":{"limits.cpu":"1","limits.memory":"512MiB","boot.autostart":"false","security.nesting":"true"},"devices":{"root":{"type":"disk","path":"/","pool":"emucmp"},"eth0":{"type":"nic","network":"emucmp0","name":"eth0","security.port_isolation":"true","security.mac_filtering":"true"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp"}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","config":{"colour":"blue"}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","config":{"limits.memory":"much"}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","config":{"limits.cpu":"many"}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","config":{"security.nesting":"maybe"}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","config":{"volatile.x":"y"}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"nic","network":"emucmp9"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"nic"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"flux"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"path":"/"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"disk","path":"/"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"disk","path":"/x"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"disk","path":"/","pool":"emucmp","colour":"blue"}}}`},
	{"POST", "/1.0/profiles", `{"name":"emucmp2","devices":{"x":{"type":"disk","path":"/","pool":"emucmp","size":"much"}}}`},
	{"POST", "/1.0/profiles", `{"name":"em/ucmp"}`},
	{"POST", "/1.0/profiles", `{}`},
	{"POST", "/1.0/profiles", `nojson`},
	{"GET", "/1.0/profiles/emucmp", ""},
	{"GET", "/1.0/profiles/emucmp2", ""},
	{"PUT", "/1.0/profiles/emucmp2", "{}"},
	{"PATCH", "/1.0/profiles/emucmp2", "{}"},
	{"PUT", "/1.0/profiles/emucmp", `{"config":{"colour":"blue"}}`},
	{"PATCH", "/1.0/profiles/emucmp", `{"config":{"user.x":"y"}}`},
	{"DELETE", "/1.0/profiles/emucmp2", ""},
	{"DELETE", "/1.0/profiles/default", ""},
	{"DELETE", "/1.0/storage-pools/emucmp", ""},
	{"DELETE", "/1.0/networks/emucmp0", ""},

	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"source":{"type":"image","alias":"emucmp"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp9"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"source":{"type":"image","fingerprint":"ffffff"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"source":{"type":"thin-air"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","type":"cloud","source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","type":"virtual-machine","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emu_cmp","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"1emucmp","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"-emucmp","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp-","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"e` + strings.Repeat("x", 63) + `","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"config":{"colour":"blue"},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"config":{"limits.memory":"much"},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":[],"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":[],"devices":{"root":{"type":"disk","path":"/","pool":"emucmp9"}},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"devices":{"exchange":{"type":"disk","source":"/nonexistent/x","path":"/x"}},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"devices":{"exchange":{"type":"disk","source":"FOLDER","path":"/x","colour":"blue"}},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"devices":{"x":{"type":"nic","network":"emucmp9"}},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"config":{"user.a":"b","cloud-init.user-data":"#cloud-config\n"},"devices":{"exchange":{"type":"disk","source":"FOLDER","path":"/x"}},"source":{"type":"image","alias":"noble"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":["emucmp"],"source":{"type":"image","alias":"noble"}}`},
	{"GET", "/1.0/instances/emucmp", ""},
	{"GET", "/1.0/instances/emucmp?recursion=1", ""},
	{"GET", "/1.0/instances?recursion=1", ""},
	{"GET", "/1.0/instances?recursion=2", ""},
	{"GET", "/1.0/instances/emucmp/state", ""},
	{"GET", "/1.0/instances?project=emucmp", ""},
	{"GET", "/1.0/profiles/emucmp", ""},
	{"DELETE", "/1.0/profiles/emucmp", ""},
	{"POST", "/1.0/instances/emucmp/exec", `{"command":["true"]}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"stop","force":true}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"dance"}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"start","timeout":-1}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"start"}`},
	{"GET", "/1.0/instances/emucmp", ""},
	{"GET", "/1.0/operations?recursion=1", ""},
	{"DELETE", "/1.0/instances/emucmp", ""},
	{"PATCH", "/1.0/instances/emucmp", `{"config":{"user.c":"d"}}`},
	{"PATCH", "/1.0/instances/emucmp", `{"config":{"colour":"blue"}}`},
	{"PUT", "/1.0/instances/emucmp", `{"profiles":["emucmp"],"config":{"user.c":"d"}}`},
	{"PUT", "/1.0/instances/emucmp", `nojson`},
	{"POST", "/1.0/instances/emucmp/exec", `{"command":["true"],"record-output":true}`},
	{"POST", "/1.0/instances/emucmp/exec", `{"command":["false"]}`},
	{"POST", "/1.0/instances/emucmp/exec", `{"command":["no-such-command"]}`},
	{"GET", "/1.0/instances/emucmp/files?path=/etc/no-such-file", ""},
	{"GET", "/1.0/instances/emucmp/files", ""},
	{"GET", "/1.0/instances/emucmp/logs", ""},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"}}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"restart","force":true}`},
	{"PUT", "/1.0/instances/emucmp/state", `{"action":"stop","force":true,"timeout":-1}`},
	{"GET", "/1.0/instances/emucmp/state", ""},
	{"GET", "/1.0/instances/emucmp9", ""},
	{"GET", "/1.0/instances/emucmp9/state", ""},
	{"PUT", "/1.0/instances/emucmp9/state", `{"action":"start"}`},
	{"PATCH", "/1.0/instances/emucmp9", "{}"},
	{"PUT", "/1.0/instances/emucmp9", "{}"},
	{"DELETE", "/1.0/instances/emucmp9", ""},
	{"POST", "/1.0/instances/emucmp9/exec", `{"command":["true"]}`},
	{"GET", "/1.0/instances/emucmp9/files?path=/etc", ""},
	{"DELETE", "/1.0/instances/emucmp", ""},
	{"GET", "/1.0/instances", ""},
	{"DELETE", "/1.0/profiles/emucmp", ""},
	{"DELETE", "/1.0/networks/emucmp0", ""},
	{"DELETE", "/1.0/network-acls/emucmp", ""},
	{"DELETE", "/1.0/storage-pools/emucmp", ""},
}

// reply is what is compared of an answer.
type reply struct {
	Request string
	// Status is that of the answer; Outcome and Error are the operation's where
	// the answer was one.
	Status  int
	Outcome int
	Error   string
	// Shape has a line "path type" for each value.
	Shape []string
}

func TestAnswersAsTheRealDaemonDoes(t *testing.T) {
	dir := os.Getenv(realDir)
	if dir == "" {
		skip.Because(t, "%s names no folder of a real LXD to compare with", realDir)
	}
	folder := t.TempDir()
	removeLeftovers(t, dir)
	t.Cleanup(func() { removeLeftovers(t, dir) })

	// One after the other: they would see each other's bridges.
	wanted := converse(t, dialSocket(filepath.Join(dir, "unix.socket")), folder, conversation)
	answered := converse(t, dialSocket(serveIn(t, shortDir(t)).Socket()), folder, conversation)
	compare(t, conversation, wanted, answered)
}

// compare shows where the emulation answered otherwise than the real daemon.
func compare(t *testing.T, conversation []request, wanted, answered []reply) {
	t.Helper()
	for i, r := range conversation {
		want, got := wanted[i], answered[i]
		// A list of everything may hold more in a daemon that others use.
		if slices.Contains(strings.Split(r.path, "?"), "/1.0/operations") {
			want.Shape, got.Shape = nil, nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s %.200s (-real +emulated):\n%s", r.method, r.path, r.body, diff)
		}
	}
}

// TestEmulationAlone holds the conversation without a real daemon: nothing in it
// may be an answer that no daemon gives.
func TestEmulationAlone(t *testing.T) {
	d := serveIn(t, shortDir(t))
	nameForImages(t, d)
	for _, got := range converse(t, dialSocket(d.Socket()), t.TempDir(), slices.Concat(conversation, virtualConversation, imageConversation)) {
		if got.Status < 200 || got.Status >= 400 && got.Error == "" {
			t.Errorf("an answer that no daemon gives: %+v", got)
		}
	}
	for _, kind := range []string{"instances", "networks", "profiles", "storage-pools", "network-acls", "images/aliases"} {
		got := call(d.Handler(), http.MethodGet, "/1.0/"+kind, "").Body.String()
		if strings.Contains(got, "emucmp") {
			t.Errorf("something is left of the %s: %s", kind, got)
		}
	}
}

// converse holds the conversation with a daemon.
func converse(t *testing.T, client *http.Client, folder string, conversation []request) []reply {
	t.Helper()
	var replies []reply
	fingerprint := ""
	for _, r := range conversation {
		filled := strings.NewReplacer("FOLDER", folder, "FINGERPRINT", fingerprint)
		got, made := ask(t, client, request{r.method, filled.Replace(r.path), filled.Replace(r.body)})
		got.Request = r.method + " " + r.path
		if made != "" {
			fingerprint = made
		}
		replies = append(replies, got)
	}
	return replies
}

func dialSocket(path string) *http.Client {
	return &http.Client{Timeout: 3 * soon, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

// ask makes a request and waits for the operation, if it starts one. It returns the
// fingerprint of the image as well that the operation has made.
func ask(t *testing.T, client *http.Client, r request) (result reply, fingerprint string) {
	t.Helper()
	status, decoded := exchange(t, client, r)
	result.Status = status
	if text, ok := decoded["error"].(string); ok {
		result.Error = plain(text)
	}
	if path, ok := decoded["operation"].(string); ok && path != "" {
		_, ended := exchange(t, client, request{"GET", path + "/wait?timeout=60", ""})
		operation, _ := ended["metadata"].(map[string]any)
		code, _ := operation["status_code"].(float64)
		text, _ := operation["err"].(string)
		result.Outcome, result.Error = int(code), plain(text)
		// How far the unpacking of an image has come is told by real daemons only.
		if slices.Contains([]any{"Creating instance", "Starting instance"}, operation["description"]) {
			operation["metadata"] = nil
		}
		if metadata, ok := operation["metadata"].(map[string]any); ok && code == http.StatusOK {
			fingerprint, _ = metadata["fingerprint"].(string)
		}
		decoded = ended
	}
	shapes := make(map[string]bool)
	shapeOf("", decoded, shapes)
	result.Shape = slices.Sorted(maps.Keys(shapes))
	return result, fingerprint
}

func exchange(t *testing.T, client *http.Client, r request) (int, map[string]any) {
	t.Helper()
	httpRequest, err := http.NewRequestWithContext(t.Context(), r.method, "http://lxd"+r.path, strings.NewReader(r.body))
	must(t, err)
	if r.body != "" {
		httpRequest.Header.Set("Content-Type", "application/json") // as clients do; without it, it is an image
	}
	response, err := client.Do(httpRequest)
	must(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	must(t, err)
	var decoded map[string]any
	if err := json.Unmarshal(content, &decoded); err != nil {
		t.Errorf("%s %s is no JSON: %q", r.method, r.path, content)
	}
	return response.StatusCode, decoded
}

// variable is what differs from daemon to daemon.
var variable = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{8}-[0-9a-f-]{27}|/[^ "]*(emucmp[^ "]*|TestAnswers[^ "]*)`)

func plain(text string) string {
	return variable.ReplaceAllString(text, "…")
}

// open are the maps whose keys are data.
var open = []string{
	"config", "expanded_config", "devices", "expanded_devices", "properties", "network", "disk",
	"kernel_features", "lxc_features", "resources",
}

// shapeOf collects paths and types. What is null in one daemon may be an empty
// list in the other: a client can't tell.
func shapeOf(path string, value any, shapes map[string]bool) {
	switch value := value.(type) {
	case map[string]any:
		shapes[path+" object"] = true
		if slices.Contains(open, path[strings.LastIndex(path, ".")+1:]) {
			return
		}
		for key, inner := range value {
			shapeOf(path+"."+key, inner, shapes)
		}
	case []any:
		for _, inner := range value[:min(len(value), 1)] {
			shapeOf(path+"[]", inner, shapes)
		}
		shapes[path] = true
	case nil:
		shapes[path] = true
	default:
		shapes[fmt.Sprintf("%s %T", path, value)] = true
	}
}

// removeLeftovers removes what an interrupted comparison left in the real
// daemon; what is not there is no failure.
func removeLeftovers(t *testing.T, dir string) {
	t.Helper()
	client := dialSocket(filepath.Join(dir, "unix.socket"))
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	leftovers := []request{
		{"PUT", "/1.0/instances/emucmp/state", `{"action":"stop","force":true}`},
		{"DELETE", "/1.0/instances/emucmp", ""},
		{"DELETE", "/1.0/profiles/emucmp", ""},
		{"DELETE", "/1.0/networks/emucmp0", ""},
		{"DELETE", "/1.0/network-acls/emucmp", ""},
		{"DELETE", "/1.0/storage-pools/emucmp/volumes/custom/v", ""},
		{"DELETE", "/1.0/storage-pools/emucmp", ""},
	}
	for _, r := range append(leftovers, imagesLeft(t, client)...) {
		httpRequest, err := http.NewRequestWithContext(ctx, r.method, "http://lxd"+r.path, strings.NewReader(r.body))
		must(t, err)
		response, err := client.Do(httpRequest)
		if err != nil {
			logrus.WithError(err).Warn("cannot remove what the comparison left")
			return
		}
		var started struct{ Operation string }
		if json.NewDecoder(response.Body).Decode(&started) == nil && started.Operation != "" {
			if waited, err := client.Get("http://lxd" + started.Operation + "/wait?timeout=20"); err == nil {
				waited.Body.Close()
			}
		}
		response.Body.Close()
	}
}
